//! Nothing of the contract is left out: one handler and one route (or a stated reason) per request.

use std::collections::BTreeMap;

use lectern::roles;
use lectern_gateway::routes::{NO_ROUTE, ROUTES, Standing};

use crate::source::{files, short, text};

#[test]
fn every_request_has_exactly_one_handler() {
    let mut handlers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in roles::tables() {
        for subject in table.answers {
            handlers.entry(subject).or_default().push(table.service);
        }
    }
    for request in lectern_subjects::requests() {
        let found = handlers.remove(request.subject).unwrap_or_default();
        assert_eq!(found, [request.service()], "{} must have one handler, in its service", request.subject);
    }
    assert!(handlers.is_empty(), "handlers without a request in the contract: {handlers:?}");
}

#[test]
fn every_request_has_exactly_one_route_or_a_reason() {
    for request in lectern_subjects::requests() {
        let routes =
            ROUTES.iter().filter(|route| route.standing == Standing::Own && route.subject == request.subject);
        let reasons = NO_ROUTE.iter().filter(|(subject, _)| *subject == request.subject);
        let (routes, reasons) = (routes.count(), reasons.count());
        assert_eq!(routes + reasons, 1, "{}: {routes} routes, {reasons} reasons for none", request.subject);
    }
    for route in ROUTES {
        let Standing::Alias(successor) = route.standing else { continue };
        let stands = |it: &&lectern_gateway::routes::Route| {
            !matches!(it.standing, Standing::Alias(_))
                && (it.subject, it.path, it.method, it.status)
                    == (route.subject, successor, route.method, route.status)
        };
        assert!(ROUTES.iter().any(|it| stands(&it)), "{} stands for nothing at {successor}", route.path);
    }
    for (subject, reason) in NO_ROUTE {
        assert!(reason.len() > 20, "{subject}: {reason:?} is no reason");
    }
}

#[test]
fn what_a_worker_follows_calls_and_drains_exists() {
    let facts: Vec<&str> = lectern_subjects::facts().map(|fact| fact.subject).collect();
    for table in roles::tables() {
        let service = table.service;
        for followed in &table.follows {
            assert!(facts.contains(followed), "{service} follows {followed}, which nobody announces");
        }
        for called in &table.calls {
            let request = lectern_subjects::request(called);
            let request = request.unwrap_or_else(|| panic!("{service} calls {called}, which nobody answers"));
            assert_ne!(request.service(), service, "{service} calls itself over the bus");
        }
    }
}

#[test]
fn every_role_has_its_service_in_the_contract() {
    let workers: Vec<&str> =
        roles::ROLES.iter().filter(|role| role.table.is_some()).map(|role| role.name).collect();
    let mut services: Vec<&str> = lectern_subjects::SERVICES.iter().map(|service| service.name).collect();
    services.sort_unstable();
    let mut sorted = workers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, services);
    assert!(roles::tables().iter().zip(&workers).all(|(table, name)| table.service == *name));
}

/// Seed 001: an independent service. Only an erasure, which concerns every service, is told to the others and answered by
/// them (architecture §13).
#[test]
fn i015_identity_calls_no_other_service_and_follows_nothing_but_receipts_of_erasures() {
    let tables = roles::tables();
    let identity = tables.iter().find(|table| table.service == "identity").expect("identity");
    assert_eq!(identity.calls, Vec::<&str>::new());
    let others =
        lectern_subjects::SERVICES.iter().map(|service| service.name).filter(|name| *name != "identity");
    let receipts: Vec<String> = others.map(|name| format!("evt.{name}.v1.privacy.erased")).collect();
    let mut followed: Vec<&str> = identity.follows.clone();
    followed.sort_unstable();
    let mut receipts: Vec<&str> = receipts.iter().map(String::as_str).collect();
    receipts.sort_unstable();
    assert_eq!(followed, receipts);
    assert!(identity.drains.is_empty() && identity.timers.is_empty() && identity.commands.is_empty());
    // and the broker would not let it ask another one
    let users = lectern::server_conf::users(false);
    let asks = users["identity"].publish.iter().filter(|subject| subject.starts_with("svc."));
    for subject in asks {
        assert!(subject.starts_with("svc.identity."), "identity may ask {subject}");
    }
}

/// Where names of tables are put together with statements.
const NAMES_OF_TABLES: [&str; 3] = [
    "crates/lectern/src/command/migrate.rs",
    "crates/core/src/export.rs",
    "workers/identity/src/resealing.rs",
];

/// sqlx takes texts that stand in the program, and others only from who says so with this word. Names of schemas, roles,
/// tables and columns can't be parameters: migrating, exporting and sealing anew say so, of constants in the program.
#[test]
fn i087_no_service_puts_a_statement_together_from_text() {
    let mut looked_at = 0;
    for dir in ["workers", "crates/core/src", "gateway/src", "crates/lectern/src"] {
        for file in files(dir, ".rs").iter().filter(|file| !short(file).contains("/tests/")) {
            assert!(
                NAMES_OF_TABLES.contains(&short(file).as_str()) || !text(file).contains("AssertSqlSafe"),
                "{} asserts that some SQL is safe",
                short(file)
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 100, "{looked_at} files");
}
