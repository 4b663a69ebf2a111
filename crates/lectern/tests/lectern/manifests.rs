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
        ("core", "process") => true,
        ("tests" | "workbench", "harness") => true,
        ("lectern", "gateway") => true,
        ("lectern", to) => worker(to),
        (from, "core" | "subjects") => worker(from),
        _ => false,
    }
}

/// (package, dependency, whether it is for tests only) of every manifest, without the prefix `lectern-` of ours.
fn dependencies() -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for manifest in files(".", "Cargo.toml") {
        let (mut package, mut section) = (String::new(), String::new());
        for line in text(&manifest).lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if section == "package" && line.starts_with("name") {
                package = line.split('"').nth(1).expect("a name").to_owned();
            } else if section.ends_with("dependencies") && !section.starts_with("workspace") {
                let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
                if !name.is_empty() && !name.starts_with('#') {
                    let from = package.strip_prefix("lectern-").unwrap_or(&package).to_owned();
                    assert!(!from.is_empty(), "{}: a dependency before the name", short(&manifest));
                    found.push((from, name.to_owned(), section.contains("dev-")));
                }
            }
        }
    }
    found
}

/// Those on crates of the house.
fn arrows() -> Vec<(String, String, bool)> {
    let ours = |(from, to, for_tests): (String, String, bool)| {
        Some((from, to.strip_prefix("lectern-")?.to_owned(), for_tests))
    };
    dependencies().into_iter().filter_map(ours).collect()
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
        ("process", "core"),
        ("core", "identity"),
        ("harness", "lectern"),
        ("courses", "workbench"),
    ] {
        assert!(!may(from, to), "{from} → {to}");
    }
}

/// What core does for everybody, and with which libraries nobody else may do it: broker, connections' supervision,
/// verification of tokens, telemetry, configuration.
const OF_CORE: [&str; 9] = [
    "async-nats",
    "nkeys",
    "metrics-exporter-prometheus",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry-otlp",
    "tracing-opentelemetry",
    "tracing-subscriber",
    "axum",
];

#[test]
fn i009_every_service_stands_on_the_one_shared_library_and_brings_none_of_its_own_for_the_same() {
    let found = dependencies();
    for service in lectern_subjects::SERVICES {
        let own: Vec<&str> = found
            .iter()
            .filter(|(from, _, for_tests)| from == service.name && !for_tests)
            .map(|(_, dependency, _)| dependency.as_str())
            .collect();
        assert!(
            own.contains(&"lectern-core") && own.contains(&"lectern-subjects"),
            "{}: {own:?}",
            service.name
        );
        let doubled: Vec<_> = own.iter().filter(|name| OF_CORE.contains(name)).collect();
        assert!(doubled.is_empty(), "{} does by itself what core does: {doubled:?}", service.name);
        // tokens are verified by core; identity issues them
        assert!(service.name == "identity" || !own.contains(&"jsonwebtoken"), "{}", service.name);
    }
    for name in OF_CORE {
        assert!(
            found.iter().any(|(_, dependency, _)| dependency == name),
            "{name} is nobody's: not a rule any more"
        );
    }
}
