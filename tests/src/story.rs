//! How the demo tells its story: a chapter, what was asked, what was answered.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use lectern_harness::Answer;
use serde_json::Value;

/// Longest value of a field that is printed whole, characters.
const WIDE: usize = 76;

/// A storyteller for the terminal; plain text when it is none.
pub struct Story {
    begun: Instant,
    steps: AtomicU32,
    colour: bool,
}

impl Default for Story {
    fn default() -> Self {
        Story { begun: Instant::now(), steps: AtomicU32::new(0), colour: std::io::stdout().is_terminal() }
    }
}

impl Story {
    /// A new part of the story.
    pub fn chapter(&self, title: &str) {
        println!("\n{}", self.paint("1;36", title));
    }

    /// One step: what was done, what was asked, and the fields of the answer that matter (JSON pointers).
    pub fn step(&self, what: &str, answer: &Answer, fields: &[&str]) {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{} {what}", self.paint("1;32", &format!("{number:>3}.")));
        println!("      {} {}", self.paint("2", "asked   "), shorten(&door(&answer.asked), 100));
        let shown: Vec<String> = fields
            .iter()
            .filter_map(|field| {
                Some(format!("{} {}", field.trim_start_matches('/'), plain(answer.json.pointer(field)?)))
            })
            .collect();
        println!(
            "      {} {} {}",
            self.paint("2", "answered"),
            self.paint("33", &answer.status.to_string()),
            shown.join(" · ")
        );
    }

    /// Something that was seen outside an answer.
    pub fn note(&self, text: &str) {
        println!("      {} {text}", self.paint("2", "seen    "));
    }

    /// The end, when everything was as promised.
    pub fn end(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        let line =
            format!("All {steps} steps were as promised, in {:.1} s.", self.begun.elapsed().as_secs_f64());
        println!("\n{}", self.paint("1;32", &line));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Without the host: `GET /api/v1/courses`.
fn door(asked: &str) -> String {
    match asked.split_once("http://") {
        Some((method, rest)) => format!("{method}{}", rest.find('/').map_or("/", |slash| &rest[slash..])),
        None => asked.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(text, WIDE),
        Value::Array(items) if items.iter().any(Value::is_object) => format!("[{} items]", items.len()),
        other => shorten(&other.to_string(), WIDE),
    }
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most - 1).chain(['…']).collect()
    }
}
