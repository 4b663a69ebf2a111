//! What PostgreSQL did for each statement of one database: the plans that its own module `auto_explain` writes into the
//! server's log while real requests are answered. Nobody copies a query into a test, so none can drift.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::database::{Database, run};

/// A statement as it was carried out.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its text, white space folded; that of a trigger's or a foreign key's statement, too.
    pub text: String,
    /// The root of `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)`.
    pub plan: Value,
}

/// Reads a database's statements from the server's log.
#[derive(Debug)]
pub struct Statements {
    database: String,
    log: PathBuf,
    read_until: u64,
}

impl Database {
    /// From now on every statement of a new connection is noted with its plan. A connection of the test's own says
    /// [`Statements::OFF`] first.
    ///
    /// # Errors
    /// When PostgreSQL is without `auto_explain` (Debian has it in the package `postgresql`).
    pub async fn notes_statements(&self) -> anyhow::Result<Statements> {
        run(self.admin_url(), "LOAD 'auto_explain'").await.context("this PostgreSQL has no auto_explain")?;
        let name = self.name();
        let settings = [
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_nested_statements", "on"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
            ("auto_explain.log_timing", "off"),
            ("auto_explain.log_format", "json"),
        ];
        for (setting, value) in settings {
            run(self.admin_url(), &format!("ALTER DATABASE {name} SET {setting} = '{value}'")).await?;
        }
        let directory =
            self.value("SELECT current_setting('data_directory')").await?.context("a directory")?;
        let mut statements = Statements {
            database: name.to_owned(),
            // beside the cluster's directory, where the cluster was started with it
            log: PathBuf::from(directory).with_file_name("postgres.log"),
            read_until: 0,
        };
        statements.take()?;
        Ok(statements)
    }
}

impl Statements {
    /// Said by a connection whose statements are not to be noted.
    pub const OFF: &'static str = "SET auto_explain.log_min_duration = -1;";

    /// Those that ended since the last call, in their order.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn take(&mut self) -> anyhow::Result<Vec<Statement>> {
        let mut log = File::open(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        log.seek(SeekFrom::Start(self.read_until))?;
        let mut bytes = Vec::new();
        self.read_until += u64::try_from(log.read_to_end(&mut bytes)?)?;
        statements(&String::from_utf8_lossy(&bytes), &self.database)
    }
}

/// The plans in a piece of the log: a line that says whose it is, then JSON, each line behind a tab.
fn statements(log: &str, database: &str) -> anyhow::Result<Vec<Statement>> {
    let of_it = format!("@{database} LOG:  duration: ");
    let mut found = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.contains(&of_it) && line.ends_with(" plan:")) {
            continue;
        }
        let mut json = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
        }
        let noted: Value = serde_json::from_str(&json).with_context(|| format!("a plan: {json}"))?;
        let text = noted["Query Text"].as_str().unwrap_or_default();
        ensure!(!text.is_empty(), "a plan without its statement: {json}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(Statement { text, plan: noted["Plan"].clone() });
    }
    Ok(found)
}

impl Statement {
    /// Pages of 8 KiB of tables and indexes that were looked at, in memory or not.
    pub fn pages(&self) -> u64 {
        let count = |of: &str| self.plan[of].as_u64().unwrap_or_default();
        count("Shared Hit Blocks") + count("Shared Read Blocks")
    }

    /// The tables that were read from one end to the other, or until there was enough.
    pub fn read_whole(&self) -> Vec<String> {
        let mut tables = Vec::new();
        walk(&self.plan, &mut |node| {
            if node["Node Type"] == "Seq Scan"
                && let Some(table) = node["Relation Name"].as_str()
            {
                tables.push(table.to_owned());
            }
        });
        tables
    }
}

fn walk(node: &Value, visit: &mut impl FnMut(&Value)) {
    visit(node);
    for below in node["Plans"].as_array().into_iter().flatten() {
        walk(below, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_other_databases_and_other_lines_are_left_out() {
        let log = "2026-11-21 16:34:00.123 UTC [7] postgres@mine LOG:  duration: 0.014 ms  plan:\n\
                   \t{\n\t  \"Query Text\": \"SELECT *\\n  FROM t\",\n\
                   \t  \"Plan\": {\"Node Type\": \"Limit\", \"Shared Hit Blocks\": 3, \"Shared Read Blocks\": 1,\n\
                   \t    \"Plans\": [{\"Node Type\": \"Seq Scan\", \"Relation Name\": \"t\"}]}\n\t}\n\
                   2026-11-21 16:34:00.124 UTC [8] postgres@other LOG:  duration: 0.010 ms  plan:\n\
                   \t{\"Query Text\": \"SELECT 2\", \"Plan\": {}}\n\
                   2026-11-21 16:34:00.125 UTC [7] postgres@mine LOG:  checkpoint\n";
        let found = statements(log, "mine").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].text.as_str(), found[0].pages()), ("SELECT * FROM t", 4));
        assert_eq!(found[0].read_whole(), ["t"]);
    }
}
