//! `docs/roles.md` says who may do what, and is made of the contract.

use std::fmt::Write;

use lectern_subjects::{Access, Effect, Permission, Role};

use crate::source::{root, text};

const INTRODUCTION: &str = "# Roles and permissions

Made of the contract (`subjects/src/role.rs` and the request tables); `UPDATE_SNAPSHOTS=1 cargo test -p lectern --test lectern
policy` writes it anew. The gateway, every service and the OpenAPI document go by the same rows.

An account has one role or several; `role` is the highest of them. Roles are set with `PUT /api/v1/users/{id}/role`. Access tokens
that say otherwise are refused (USER_1011) once that is answered; a refresh answers one with the new roles. Whoever teaches a course
is a member of that course: that is no role.

";

fn meaning(role: Role) -> &'static str {
    match role {
        Role::User => "a learner; what everyone is who signs up",
        Role::Moderator => "the community: reviews, accounts without e-mail, name and phone",
        Role::Operator => "the business: courses, files, events, rewards",
        Role::Auditor => {
            "reads the audit log, reward history, and accounts without e-mail, name and phone; changes nothing"
        }
        Role::Admin => "everything; one active account always has it (USER_1304)",
        Role::Service => "a machine with a token; no account has it (USER_1303)",
    }
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

fn subjects(admits: impl Fn(Access) -> bool) -> String {
    let asking = lectern_subjects::requests().filter(|request| admits(request.access));
    asking.map(|request| format!("`{}`", request.subject)).collect::<Vec<_>>().join("<br>")
}

/// The document.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut line = |text: &str| writeln!(page, "{text}").expect("a string takes it");
    line("| role | for |\n|---|---|");
    for role in Role::ALL {
        line(&format!("| `{role}` | {} |", meaning(role)));
    }
    line("\n| permission | roles that have it | requests that need it |\n|---|---|---|");
    for permission in Permission::ALL {
        let needed = subjects(|access| access == Access::May(permission));
        line(&format!("| `{}` | {} | {needed} |", permission.name(), names(permission.holders())));
    }
    line("\n| other rule | requests |\n|---|---|");
    let mut by_role: Vec<&'static [Role]> = Vec::new();
    for request in lectern_subjects::requests() {
        if let Access::Roles(roles) = request.access
            && !by_role.contains(&roles)
        {
            by_role.push(roles);
        }
    }
    for roles in by_role {
        line(&format!("| {} | {} |", names(roles), subjects(|access| access == Access::Roles(roles))));
    }
    for (rule, access) in [
        ("operator, admin, or an instructor of the course", Access::CourseStaff),
        ("the owner; to others it is not there", Access::Owner),
        ("any signed-in user", Access::User),
        ("machines", Access::Service),
        ("anyone", Access::Public),
    ] {
        line(&format!("| {rule} | {} |", subjects(|other| other == access)));
    }
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of this test, no configuration")]
fn i072_the_document_of_roles_is_what_the_contract_says() {
    let path = root().join("docs/roles.md");
    if std::env::var("UPDATE_SNAPSHOTS").is_ok() {
        std::fs::write(&path, page()).expect("writing the document");
    }
    assert_eq!(text(&path), page(), "UPDATE_SNAPSHOTS=1 writes docs/roles.md anew");
}

/// Seed 002: who may write a thing may read it; of permissions, and of the requests that roles are named for.
#[test]
fn i071_who_may_write_a_thing_may_read_it() {
    let mut pairs = 0;
    for write in Permission::ALL {
        let (noun, verb) = write.name().split_once(':').expect("<noun>:<verb>");
        let read = Permission::ALL.into_iter().find(|it| it.name() == format!("{noun}:read"));
        let Some(read) = read.filter(|_| verb != "read") else { continue };
        for role in write.holders() {
            assert!(read.holders().contains(role), "{role} may {} and not {}", write.name(), read.name());
            pairs += 1;
        }
    }
    assert!(pairs >= 4, "{pairs} pairs");
    let holders = |access: Access| match access {
        Access::May(permission) => Some(permission.holders()),
        Access::Roles(roles) => Some(roles),
        _ => None,
    };
    for write in lectern_subjects::requests().filter(|request| request.effect != Effect::Read) {
        let resource = |subject: &'static str| subject.rsplit_once('.').expect("a verb").0;
        let reads = lectern_subjects::requests()
            .filter(|read| read.effect == Effect::Read && resource(read.subject) == resource(write.subject));
        for read in reads {
            if let (Some(writers), Some(readers)) = (holders(write.access), holders(read.access)) {
                let blind: Vec<_> = writers.iter().filter(|role| !readers.contains(role)).collect();
                assert!(blind.is_empty(), "{blind:?} may ask {} and not {}", write.subject, read.subject);
            }
        }
    }
}
