//! The arrows of the house: read from the manifests, so that no other arrow can be drawn unseen.

use crate::source::{files, short, text};

/// Who may depend on whom. An arrow may skip a floor, it never points up or sideways.
fn may(from: &str, to: &str) -> bool {
    let worker = |name: &str| {
        matches!(
            name,
            "identity" | "courses" | "content" | "playback" | "enrollment" | "notifications" | "audit"
        )
    };
    match (from, to) {
        ("core" | "harness" | "workbench" | "tests" | "gateway" | "lectern", "subjects") => true,
        ("harness" | "workbench" | "tests" | "gateway" | "lectern", "core") => true,
        ("tests" | "workbench", "harness") => true,
        ("lectern", "gateway") => true,
        ("lectern", to) => worker(to),
        (from, "core" | "subjects") => worker(from),
        _ => false,
    }
}

/// (package, dependency, whether it is for tests only) of every manifest, without the prefix `lectern-`.
fn arrows() -> Vec<(String, String, bool)> {
    let mut arrows = Vec::new();
    for manifest in files(".", "Cargo.toml") {
        let (mut package, mut section) = (String::new(), String::new());
        for line in text(&manifest).lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if section == "package" && line.starts_with("name") {
                package = line.split('"').nth(1).expect("a name").to_owned();
            } else if section.ends_with("dependencies") && !section.starts_with("workspace") {
                let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
                if let Some(dependency) = name.strip_prefix("lectern-") {
                    let from = package.strip_prefix("lectern-").unwrap_or(&package).to_owned();
                    assert!(!from.is_empty(), "{}: a dependency before the name", short(&manifest));
                    arrows.push((from, dependency.to_owned(), section.contains("dev-")));
                }
            }
        }
    }
    arrows
}

#[test]
fn no_arrow_of_the_house_points_up_or_sideways() {
    let arrows = arrows();
    assert!(arrows.len() > 20, "the manifests were not read: {arrows:?}");
    for (from, to, for_tests) in &arrows {
        // the crate itself with other features, for its own tests
        let allowed = may(from, to) || (*for_tests && (to == "harness" || to == "workbench" || to == from));
        assert!(allowed, "{from} → {to} is no arrow of the house (ARCHITECTURE.md)");
    }
}

#[test]
fn the_rule_refuses_what_must_never_be() {
    for (from, to) in [
        ("identity", "courses"),
        ("courses", "gateway"),
        ("gateway", "courses"),
        ("subjects", "core"),
        ("core", "harness"),
        ("core", "identity"),
        ("harness", "lectern"),
        ("courses", "workbench"),
    ] {
        assert!(!may(from, to), "{from} → {to}");
    }
}
