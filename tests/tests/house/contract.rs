//! The contract as a stranger can read it: `$SRV.INFO`, `/asyncapi.json` and `/openapi.json`, joined by subject.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lectern_harness::Stack;
use reqwest::Method;
use serde_json::{Map, Value};

/// Who may send a request, as its service says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Public,
    User,
    Owner,
    CourseStaff,
    Roles(Vec<String>),
    Service,
}

/// One request.
#[derive(Debug)]
pub struct Operation {
    pub subject: String,
    pub access: Access,
    /// `Read`, `Write` or `Unkeyed`.
    pub effect: String,
    /// The documented example of the whole request, path parameters included.
    pub example: Value,
    /// None for the few that have no route of their own.
    pub route: Option<Route>,
}

/// Where a request stands over HTTP.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    pub path: String,
    pub fields: Vec<Field>,
    /// The status of a success.
    pub success: u16,
    /// Whether the body may also come as a form.
    pub form: bool,
    /// Whether it ignores query parameters that it does not know, as a standard asks.
    pub ignores_others: bool,
    /// Documented statuses, each with its refusal codes.
    pub statuses: BTreeMap<u16, BTreeSet<String>>,
}

/// One field of a request.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub place: Place,
    pub required: bool,
    /// Whether it is a word and no id.
    pub word: bool,
    /// Whether a string can't be right.
    pub typed: bool,
    /// Whether any JSON is right.
    pub anything: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
    Body,
}

/// All requests by subject, and the documents themselves.
#[derive(Debug)]
pub struct Contract {
    pub operations: BTreeMap<String, Operation>,
    pub openapi: Value,
    pub asyncapi: Value,
}

impl Contract {
    pub async fn read(stack: &Stack) -> Contract {
        let anyone = stack.anonymous();
        let openapi = anyone.gets("/openapi.json").await.ok().json;
        let asyncapi = anyone.gets("/asyncapi.json").await.ok().json;
        let mut routes = routes(&openapi);
        let examples = examples(&asyncapi);
        let infos = stack.bus().await.asks_all("$SRV.INFO", Duration::from_millis(500)).await.expect("asked");
        let mut operations = BTreeMap::new();
        for endpoint in infos.iter().flat_map(|info| info["endpoints"].as_array().into_iter().flatten()) {
            let subject = endpoint["subject"].as_str().expect("a subject").to_owned();
            let meta = |name: &str| endpoint["metadata"][name].as_str().unwrap_or_default();
            let operation = Operation {
                access: access(meta("access"), meta("roles")),
                effect: meta("effect").to_owned(),
                example: examples
                    .get(&subject)
                    .cloned()
                    .unwrap_or_else(|| panic!("{subject} is not in AsyncAPI")),
                route: routes.remove(&subject),
                subject: subject.clone(),
            };
            operations.insert(subject, operation);
        }
        let unknown: Vec<_> = examples.keys().filter(|subject| !operations.contains_key(*subject)).collect();
        assert!(unknown.is_empty(), "documented, but no service answers: {unknown:?}");
        Contract { operations, openapi, asyncapi }
    }

    /// One request.
    pub fn of(&self, subject: &str) -> &Operation {
        self.operations.get(subject).unwrap_or_else(|| panic!("no request {subject}"))
    }

    /// All that have a route.
    pub fn routed(&self) -> impl Iterator<Item = (&Operation, &Route)> {
        self.operations.values().filter_map(|operation| Some((operation, operation.route.as_ref()?)))
    }
}

/// `Public`, or `Roles([Operator, Admin])` or `May(UserRead)` with the roles that have it.
fn access(text: &str, roles: &str) -> Access {
    match text {
        "Public" => Access::Public,
        "User" => Access::User,
        "Owner" => Access::Owner,
        "CourseStaff" => Access::CourseStaff,
        "Service" => Access::Service,
        rule => {
            assert!(rule.starts_with("Roles(") || rule.starts_with("May("), "no access rule: {rule:?}");
            assert!(!roles.is_empty(), "{rule} names no role");
            Access::Roles(roles.split(' ').map(str::to_owned).collect())
        }
    }
}

/// The documented request of every subject.
fn examples(asyncapi: &Value) -> BTreeMap<String, Value> {
    let channels = asyncapi["channels"].as_object().expect("channels");
    let requests = channels.values().filter_map(|channel| {
        let subject = channel["address"].as_str().filter(|address| address.starts_with("svc."))?;
        let name = channel["messages"].as_object()?.keys().next()?;
        Some((subject.to_owned(), asyncapi["components"]["messages"][name]["examples"][0]["payload"].clone()))
    });
    requests.collect()
}

fn routes(openapi: &Value) -> BTreeMap<String, Route> {
    let mut routes = BTreeMap::new();
    for (path, methods) in openapi["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let Some(subject) = operation["x-nats-subject"].as_str() else { continue };
            // other doors to the same request: a seed's path, or a second method
            if !operation["operationId"].as_str().is_some_and(|id| is_named_after(id, subject)) {
                continue;
            }
            let route = Route {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                fields: fields(openapi, operation),
                success: success(operation),
                ignores_others: operation["x-other-parameters-ignored"] == true,
                form: operation["requestBody"]["content"].get("application/x-www-form-urlencoded").is_some(),
                statuses: statuses(operation),
            };
            let path = route.path.clone();
            let other = routes.insert(subject.to_owned(), route);
            // PUT and PATCH may stand for the same request
            assert!(other.is_none_or(|other: Route| other.path == path), "two routes for {subject}");
        }
    }
    routes
}

/// `svc.identity.v1.auth.login` is `identity_auth_login` at its own path.
fn is_named_after(id: &str, subject: &str) -> bool {
    id == subject.trim_start_matches("svc.").replace(".v1.", ".").replace('.', "_")
}

fn fields(openapi: &Value, operation: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let place = match parameter["in"].as_str() {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            _ => continue,
        };
        let required = parameter["required"] == true;
        fields.push(field(
            parameter["name"].as_str().expect("a name"),
            place,
            required,
            &parameter["schema"],
        ));
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let schema = match schema["$ref"].as_str() {
        Some(reference) => openapi.pointer(reference.trim_start_matches('#')).expect("a component"),
        None => schema,
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        fields.push(field(name, Place::Body, required.contains(&name.as_str()), property));
    }
    fields
}

fn field(name: &str, place: Place, required: bool, schema: &Value) -> Field {
    let is = |kind: &str| {
        schema["type"] == kind || schema["type"].as_array().is_some_and(|it| it.contains(&kind.into()))
    };
    let keys = ["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"];
    Field {
        name: name.to_owned(),
        place,
        required,
        word: is("string") && schema.get("format").is_none(),
        typed: is("integer") || is("boolean") || is("number"),
        anything: keys.iter().all(|key| schema.get(*key).is_none()),
    }
}

fn success(operation: &Value) -> u16 {
    let has = |status: &str| operation["responses"].get(status).is_some();
    [201, 202].into_iter().find(|status| has(&status.to_string())).unwrap_or(200)
}

fn statuses(operation: &Value) -> BTreeMap<u16, BTreeSet<String>> {
    let responses = operation["responses"].as_object().expect("responses");
    let documented = responses.iter().filter_map(|(status, response)| {
        let told = response["description"].as_str().unwrap_or_default();
        let codes =
            told.strip_prefix("Refused: ").unwrap_or_default().split(", ").map(str::to_owned).collect();
        Some((status.parse().ok()?, codes))
    });
    documented.collect()
}
