//! Documents that list things are tied to the code, and the habits that can be counted are counted.

use std::collections::BTreeSet;

use lectern_core::{config, metrics};

use crate::source::{files, root, short, text};

#[test]
fn the_example_configuration_is_current() {
    let written = text(&root().join(".env.example"));
    let current = config::example(&lectern::settings_by_part());
    assert_eq!(written, current, "run `cargo run -p lectern -- config --env-example > .env.example`");
}

#[test]
fn a_setting_that_two_parts_read_is_declared_alike() {
    let mut seen: Vec<config::Setting> = lectern::settings();
    for role in lectern::roles::ROLES {
        seen.extend(role.settings);
    }
    for a in &seen {
        for b in seen.iter().filter(|b| b.name == a.name) {
            assert_eq!((a.default, a.secret), (b.default, b.secret), "{}", a.name);
        }
        assert!(!a.help.is_empty() && !a.help.contains('\n'), "{}", a.name);
    }
}

/// Names in `counter!("name"`, `gauge!("name"` and `histogram!("name"`, also with a line break before the name.
fn metrics_in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for dir in ["crates/process/src", "crates/core/src", "crates/lectern/src", "gateway/src", "workers"] {
        for file in files(dir, ".rs").iter().filter(|file| !short(file).contains("/tests/")) {
            let text = text(file);
            for call in ["counter!(", "gauge!(", "histogram!("] {
                for after in text.split(call).skip(1) {
                    if let Some(name) = after.trim_start().strip_prefix('"').and_then(|t| t.split('"').next())
                    {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
    }
    names
}

#[test]
fn the_metrics_table_lists_what_the_code_counts_and_nothing_else() {
    let listed: BTreeSet<String> = metrics::TABLE.iter().map(|metric| metric.name.to_owned()).collect();
    let counted = metrics_in_code();
    let missing: Vec<_> = counted.difference(&listed).collect();
    let unused: Vec<_> = listed.difference(&counted).collect();
    assert!(missing.is_empty(), "counted, but not in crates/process/src/metrics.rs: {missing:?}");
    assert!(unused.is_empty(), "in crates/process/src/metrics.rs, but never counted: {unused:?}");
}

#[test]
fn hand_written_files_stay_under_500_lines() {
    for dir in ["subjects", "crates", "gateway", "workers", "tests"] {
        for file in files(dir, ".rs") {
            let lines = text(&file).lines().count();
            assert!(lines <= 500, "{}: {lines} lines", short(&file));
        }
    }
}

#[test]
fn core_stays_under_5000_lines_of_code() {
    let mut lines = 0;
    for file in files("crates/core/src", ".rs") {
        let text = text(&file);
        // unit tests stand at the end of a file
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        lines += code
            .lines()
            .filter(|line| !matches!(line.trim(), "" | "}"))
            .filter(|l| !l.trim().starts_with("//"))
            .count();
    }
    assert!(lines > 1000, "core was not read");
    assert!(lines <= 5000, "core has {lines} lines of code");
}

/// Codes that no request is refused with, and why they are there.
const UNREACHED: [(&str, &str); 1] =
    [("COMMON_0015", "a code of the architecture for requests that insist on If-Match; none does yet")];

#[test]
fn identity_i19_every_refusal_code_is_provoked_by_a_test() {
    let mut tests = String::new();
    let sources = ["crates", "gateway", "tests", "workers"].into_iter().flat_map(|dir| files(dir, ".rs"));
    // this file names codes that nobody provokes
    for file in sources.filter(|file| !short(file).ends_with("lectern/documents.rs")) {
        let text = text(&file);
        match text.split_once("#[cfg(test)]") {
            _ if short(&file).contains("/tests/") => tests.push_str(&text),
            Some((_, unit)) => tests.push_str(unit),
            None => {}
        }
    }
    let common = lectern_subjects::CommonRefusal::CODES.iter();
    let codes = lectern_subjects::SERVICES.iter().flat_map(|service| service.refusals).chain(common);
    let unreached: Vec<&str> = codes.map(|code| code.code).filter(|code| !tests.contains(code)).collect();
    assert_eq!(unreached, UNREACHED.map(|(code, _)| code), "codes that no test provokes");
}
