//! `docs/requirements.md` says of each requirement which tests show it: by their names, which begin with its id or with
//! several, or because the list names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The specifications whose requirements are tracked: a file of `docs/requirements/` with `id<TAB>text<TAB>why
/// not, or `=` and names of tests` a line.
const SPECS: [(&str, &str); 1] = [("identity", "Identity")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `I-081` is shown by `i081_…`, invariant `identity I4` by `identity_i4_…`, contradiction `C14` by `c14_…`.
fn prefix(id: &str) -> String {
    format!("{}_", id.to_lowercase().replace('-', "").replace(' ', "_"))
}

/// The requirements that a test's name begins with, as their prefixes: `i024_i025_what_…` shows two.
fn begins_with(name: &str) -> Vec<String> {
    let numbered = |part: &str, letters: &[char]| {
        part.strip_prefix(letters).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            && part[1..].trim_end_matches('b').bytes().all(|byte| byte.is_ascii_digit())
    };
    let (mut ids, mut parts) = (Vec::new(), name.split('_').peekable());
    while let Some(part) = parts.next() {
        match parts.peek() {
            Some(next) if part == "identity" && numbered(next, &['i']) => {
                ids.push(format!("identity_{next}_"));
                parts.next();
            }
            _ if numbered(part, &['i', 'c']) => ids.push(format!("{part}_")),
            _ => break,
        }
    }
    ids
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir()
            && name != "target"
            && name != "node_modules"
            && !name.to_string_lossy().starts_with('.')
        {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All tests by name with the file that they stand in.
fn tests() -> BTreeMap<String, String> {
    let (root, mut files) = (root(), Vec::new());
    sources(&root, &mut files);
    let mut tests = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let place = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        for (at, _) in text.match_indices("#[test]").chain(text.match_indices("#[tokio::test")) {
            let name = text[at..].split_once("fn ").map(|(_, rest)| rest);
            let name = name.and_then(|rest| rest.split('(').next()).expect("a test has a name");
            tests.insert(name.to_owned(), place.clone());
        }
    }
    tests
}

/// The tests of one row: those whose names begin with its id, and those that its last column names after `=`.
fn shown_by(tests: &BTreeMap<String, String>, row: &[&str]) -> Vec<String> {
    let named: Vec<&str> = row[2].strip_prefix('=').unwrap_or_default().split_whitespace().collect();
    for name in &named {
        assert!(tests.contains_key(*name), "{}: there is no test {name}", row[0]);
    }
    let prefix = prefix(row[0]);
    let shows = |name: &str| begins_with(name).contains(&prefix) || named.contains(&name);
    tests.iter().filter(|(name, _)| shows(name)).map(|(name, place)| format!("`{name}` ({place})")).collect()
}

fn document() -> String {
    let tests = tests();
    let mut page = "# Requirements and the tests that show them\n\n\
        Made from the names of the tests: `UPDATE_SNAPSHOTS=1 cargo test -p lectern --test lectern requirements`. A requirement without a\n\
        test says why, or \"not shown yet\".\n"
        .to_owned();
    for (file, title) in SPECS {
        let rows = fs::read_to_string(root().join(format!("docs/requirements/{file}.tsv"))).expect(file);
        let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split('\t').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == 3), "{file}: a row has three columns");
        let by: Vec<Vec<String>> = rows.iter().map(|row| shown_by(&tests, row)).collect();
        let shown = by.iter().filter(|by| !by.is_empty()).count();
        let _infallible = write!(page, "\n## {title}\n\n{shown} of {} are shown by a test.\n\n", rows.len());
        page.push_str("| id | what | shown by |\n|---|---|---|\n");
        for (row, by) in rows.iter().zip(by) {
            let why_not = if row[2].is_empty() { "not shown yet" } else { row[2] };
            let by = if by.is_empty() { why_not.to_owned() } else { by.join("<br>") };
            let _infallible = writeln!(page, "| {} | {} | {by} |", row[0], row[1]);
        }
    }
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of this test, no configuration")]
fn the_page_of_requirements_is_current() {
    let (path, current) = (root().join("docs/requirements.md"), document());
    if std::env::var("UPDATE_SNAPSHOTS").is_ok() {
        fs::write(&path, current).expect("writing the page");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "docs/requirements.md is not current: UPDATE_SNAPSHOTS=1 cargo test -p lectern --test lectern requirements"
    );
}

/// A test that names an identity requirement which does not exist shows nothing.
#[test]
fn every_identity_requirement_that_a_test_names_exists() {
    let rows = fs::read_to_string(root().join("docs/requirements/identity.tsv")).expect("the list");
    let known: BTreeSet<String> =
        rows.lines().filter_map(|line| Some(prefix(line.split('\t').next()?))).collect();
    for (name, place) in tests() {
        for id in begins_with(&name) {
            // `i4_…` alone is no requirement of this list
            let of_identity = id.starts_with("identity_") || (id.starts_with('i') && id.len() >= 5);
            assert!(
                !of_identity || known.contains(&id),
                "{name} in {place} names {id}, which is no requirement"
            );
        }
    }
}

#[test]
fn a_name_may_begin_with_several_requirements() {
    assert_eq!(begins_with("i024_i025_what_a_user_changes"), ["i024_", "i025_"]);
    assert_eq!(begins_with("i090_identity_i19_every_code"), ["i090_", "identity_i19_"]);
    assert_eq!(begins_with("i060_c7_a_session"), ["i060_", "c7_"]);
    assert_eq!(begins_with("identity_of_a_thing_i024"), Vec::<String>::new());
    assert_eq!(begins_with("c_is_a_letter"), Vec::<String>::new());
}
