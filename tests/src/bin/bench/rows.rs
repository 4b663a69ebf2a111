//! The table that is printed, and its JSON.

use lectern_tests::load::Figures;
use serde_json::{Value, json};

/// One row of the table.
#[derive(Default)]
pub struct Row {
    pub name: &'static str,
    pub figures: Option<Figures>,
    pub cpu_s_per_1000: Option<f64>,
    pub rss_mib: Option<f64>,
    pub limit: Option<f64>,
    pub peer: Option<f64>,
    pub note: String,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.figures.as_ref()?.throughput() / self.limit?)
    }

    fn times_peer(&self) -> Option<f64> {
        Some(self.figures.as_ref()?.throughput() / self.peer?)
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name.trim(),
            "throughput": self.figures.as_ref().map(Figures::throughput),
            "p50_ms": self.figures.as_ref().map(|figures| figures.p50_ms),
            "p99_ms": self.figures.as_ref().map(|figures| figures.p99_ms),
            "cpu_s_per_1000": self.cpu_s_per_1000,
            "rss_mib": self.rss_mib,
            "limit": self.limit,
            "ratio": self.ratio(),
            "peer": self.peer,
            "times_peer": self.times_peer(),
            "note": self.note,
        })
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    println!(
        "{:<24}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>7}{:>8}",
        "scenario", "per s", "p50 ms", "p99 ms", "CPU s/1000", "RSS MiB", "limit", "ratio", "× peer"
    );
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for row in rows {
        let figures = row.figures.as_ref();
        println!(
            "{:<24}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}{:>7}{:>8}  {}",
            row.name,
            cell(figures.map(Figures::throughput), 0),
            cell(figures.map(|figures| figures.p50_ms), 2),
            cell(figures.map(|figures| figures.p99_ms), 2),
            cell(row.cpu_s_per_1000, 3),
            cell(row.rss_mib, 0),
            cell(row.limit, 0),
            cell(row.ratio(), 2),
            cell(row.times_peer(), 1),
            row.note
        );
    }
}
