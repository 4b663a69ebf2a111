//! `/openapi.json`: OpenAPI 3.1, assembled from the route table and the contract. Nothing here is written by hand per route.

use std::collections::BTreeMap;

use lectern_subjects::{Access, CommonRefusal, Effect, Problem, RequestInfo, ServiceInfo};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::discovery;
use crate::input::FORM;
use crate::routes::{ROUTES, Route, Standing};

/// Where components stand in the document.
const COMPONENTS: &str = "#/components/schemas/";

/// Requests of features that a setting switches on, by how their subjects begin: elsewhere they answer COMMON_0006.
const SWITCHED_ON_BY: [(&str, &str); 7] = [
    ("svc.identity.v1.auth.mfa_", "ENABLE_TWO_FACTOR_AUTH"),
    ("svc.identity.v1.mfa.totp_", "ENABLE_TWO_FACTOR_AUTH"),
    ("svc.identity.v1.mfa.recovery_", "ENABLE_TWO_FACTOR_AUTH"),
    ("svc.identity.v1.mfa.passkey_", "PASSKEYS_ENABLED"),
    ("svc.identity.v1.auth.passkey_", "PASSKEYS_ENABLED"),
    ("svc.identity.v1.auth.oidc_", "ENABLE_SOCIAL_LOGIN"),
    ("svc.identity.v1.identities.", "ENABLE_SOCIAL_LOGIN"),
];

/// The document.
pub(crate) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = COMPONENTS.trim_start_matches('#').into();
    let mut generator = SchemaGenerator::new(settings);
    generator.subschema_for::<Problem>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        let Some(info) = lectern_subjects::request(route.subject) else {
            continue;
        };
        let operation = operation(route, info, &mut generator);
        paths.entry(route.path).or_default().insert(route.method.to_ascii_lowercase(), operation);
    }
    for (path, methods) in by_hand() {
        paths.entry(path).or_default().extend(methods);
    }
    let mut schemas = generator.take_definitions(true);
    strip_request_fields(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lectern",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "An online-learning business in a box.",
            "description": "Every operation is also a NATS subject (`x-nats-subject`) with the same types, the same \
                authorisation and the same answer; see `/asyncapi.json`. Refusals are RFC 9457 problem documents with a \
                stable `error_code`; `/docs/errors` lists them.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": lectern_subjects::SERVICES.iter().map(|service| json!({ "name": service.name })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "BearerAuth": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Access token of POST /api/v1/auth/login." },
            },
            "schemas": schemas,
        },
    })
}

fn operation(route: &Route, info: &RequestInfo, generator: &mut SchemaGenerator) -> Value {
    let reply = repeated(route, &(info.reply_schema)(generator).to_value());
    let request = (info.request_schema)(generator);
    let fields = generator.definitions().get(info.name).cloned().unwrap_or_default();
    let golden: Value = serde_json::from_str(info.golden).unwrap_or_default();
    let in_path: Vec<&str> =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let required: Vec<&str> =
        fields["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut parameters = Vec::new();
    for (name, schema) in fields["properties"].as_object().into_iter().flatten() {
        let place = match () {
            () if in_path.contains(&name.as_str()) => "path",
            () if route.query.is_some_and(|read| !read.contains(&name.as_str())) => continue,
            () if route.method == "GET" => "query",
            () => continue,
        };
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|object| object.remove("description"));
        parameters.push(json!({
            "name": name, "in": place, "description": description, "schema": schema,
            "required": place == "path" || required.contains(&name.as_str()),
        }));
    }
    if info.effect == Effect::Write {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
            "description": "The same key and body get the same stored answer for 24 h.",
        }));
    }
    let mut operation = json!({
        "operationId": info.subject.trim_start_matches("svc.").replace(".v1.", ".").replace('.', "_"),
        "summary": info.summary.trim(),
        "tags": [info.service()],
        "x-nats-subject": info.subject,
        "parameters": parameters,
        "responses": responses(route, info, &reply, &repeated_in(route, &golden["reply"])),
    });
    if let Some((_, setting)) = SWITCHED_ON_BY.iter().find(|(start, _)| info.subject.starts_with(start)) {
        operation["x-switched-on-by"] = json!(setting);
    }
    if route.query.is_some() {
        operation["x-other-parameters-ignored"] = json!(true);
    }
    if route.standing != Standing::Own {
        // an id belongs to one operation: the request's own row
        operation["operationId"] = json!(
            format!("{}_{}", route.method.to_ascii_lowercase(), route.path)
                .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        );
    }
    if let Standing::Alias(successor) = route.standing {
        operation["deprecated"] = json!(true);
        operation["description"] = json!(format!("Kept for old clients; use {successor}."));
    }
    if info.access != Access::Public {
        operation["security"] = json!([{ "BearerAuth": [] }]);
        let kept = operation["description"].as_str().map(|text| format!(" {text}")).unwrap_or_default();
        operation["description"] = json!(format!("Access: {}.{kept}", access(info.access)));
    }
    let has_body = fields["properties"]
        .as_object()
        .is_some_and(|fields| fields.keys().any(|field| !in_path.contains(&field.as_str())));
    if route.method != "GET" && has_body {
        let mut example = golden["request"].clone();
        if let Some(object) = example.as_object_mut() {
            object.retain(|field, _| !in_path.contains(&field.as_str()));
        }
        let schema = if in_path.is_empty() { request.to_value() } else { without(&fields, &in_path) };
        operation["requestBody"] = json!({
            "required": required.iter().any(|field| !in_path.contains(field)),
            "content": { "application/json": { "schema": schema.clone(), "example": example.clone() } },
        });
        if route.form {
            operation["requestBody"]["content"][FORM] = json!({ "schema": schema, "example": example });
        }
    }
    operation
}

/// A reply's schema with the fields that are answered under a second name.
fn repeated(route: &Route, reply: &Value) -> Value {
    if route.repeated.is_empty() {
        return reply.clone();
    }
    let second: Map<String, Value> = route
        .repeated
        .iter()
        .map(|(ours, theirs)| {
            (
                (*theirs).to_owned(),
                json!({ "type": "string", "description": format!("The same as `{ours}`.") }),
            )
        })
        .collect();
    json!({ "allOf": [reply, { "type": "object", "properties": second }] })
}

/// An example with them.
fn repeated_in(route: &Route, example: &Value) -> Value {
    let mut example = example.clone();
    for (ours, theirs) in route.repeated {
        example[*theirs] = example[*ours].clone();
    }
    example
}

/// A request's schema without the fields that stand in the path.
fn without(schema: &Value, in_path: &[&str]) -> Value {
    let mut schema = schema.clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|field, _| !in_path.contains(&field.as_str()));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|field| field.as_str().is_none_or(|field| !in_path.contains(&field)));
    }
    schema
}

fn responses(route: &Route, info: &RequestInfo, reply: &Value, example: &Value) -> Value {
    let mut responses = Map::new();
    let success = match route.status {
        302 => json!({
            "description": "The browser goes on to `url` of the answer that the subject gives.",
            "headers": { "Location": { "schema": { "type": "string", "format": "uri" } } },
        }),
        _ => json!({
            "description": "Done.",
            "content": { "application/json": { "schema": reply, "example": example } },
        }),
    };
    if route.status == 201 {
        responses.insert(
            "200".to_owned(),
            json!({
                "description": "It was there already.",
                "content": { "application/json": { "schema": reply } },
            }),
        );
    }
    responses.insert(route.status.to_string(), success);
    if info.effect == Effect::Read {
        responses.insert(
            "304".to_owned(),
            json!({ "description": "Not changed since the `ETag` in If-None-Match." }),
        );
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let own = lectern_subjects::SERVICES.iter().filter(|service| service.name == info.service());
    let codes = own.flat_map(|service: &ServiceInfo| service.refusals).chain(CommonRefusal::CODES);
    for code in codes {
        by_status.entry(code.status).or_default().push(code.code);
    }
    if info.access == Access::Public {
        by_status.entry(401).or_default();
    } else {
        by_status.entry(401).or_default().extend(["USER_1005", "USER_1006", "USER_1011"]);
    }
    for (status, mut codes) in by_status {
        codes.sort_unstable();
        codes.dedup();
        responses.insert(status.to_string(), json!({
            "description": format!("Refused: {}", codes.join(", ")),
            "content": { "application/problem+json": { "schema": { "$ref": format!("{COMPONENTS}Problem") } } },
        }));
    }
    Value::Object(responses)
}

/// The routes that are no request of the contract, each for its reason (architecture §13).
fn by_hand() -> Vec<(&'static str, Map<String, Value>)> {
    let plain = |tag: &str, summary: &str, statuses: &[(&str, &str)]| {
        let responses: Map<String, Value> = statuses
            .iter()
            .map(|(status, text)| ((*status).to_owned(), json!({ "description": text })))
            .collect();
        json!({ "summary": summary, "tags": [tag], "responses": responses })
    };
    let refused = ("4XX", "Refused; a problem document.");
    let mut upload = plain(
        "content",
        "Start a resumable upload (tus 1.0.0): Upload-Length, Upload-Metadata.",
        &[("201", "Location names the upload."), refused],
    );
    let mut append = plain(
        "content",
        "The next bytes of an upload (tus 1.0.0): Upload-Offset.",
        &[("204", "Upload-Offset says how far it came; Lectern-Asset names the file when whole."), refused],
    );
    let mut probe =
        plain("content", "How far an upload came (tus 1.0.0).", &[("200", "Upload-Offset."), refused]);
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } }]);
    for operation in [&mut upload, &mut append, &mut probe] {
        operation["security"] = json!([{ "BearerAuth": [] }]);
    }
    append["parameters"] = id.clone();
    append["requestBody"] = json!({ "content": { "application/offset+octet-stream": { "schema": { "type": "string", "format": "binary" } } } });
    probe["parameters"] = id;
    let mut media = plain(
        "content",
        "A file, by a signed URL that a playback session answers.",
        &[
            ("200", "All of it."),
            ("206", "A range."),
            ("403", "Wrong, expired or revoked; CONTENT_2220."),
            ("416", "Beyond the end."),
        ],
    );
    media["parameters"] = json!([
        { "name": "asset", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } },
        { "name": "file", "in": "path", "required": true, "schema": { "type": "string" } },
    ]);
    let mut export = plain(
        "identity",
        "Everything that every service holds about the caller (GDPR Art. 20), as one zip: a JSON file per service, then \
         manifest.json. USER_1009 when it is too long ago that the caller signed in.",
        &[
            ("200", "The zip; it is whole when it ends with its manifest."),
            refused,
            ("503", "A service does not answer; details name it."),
        ],
    );
    export["security"] = json!([{ "BearerAuth": [] }]);
    export["responses"]["200"]["content"] =
        json!({ "application/zip": { "schema": { "type": "string", "format": "binary" } } });
    let one = |method: &str, operation: Value| Map::from_iter([(method.to_owned(), operation)]);
    let liveness = plain("operations", "The process lives.", &[("200", "alive")]);
    let readiness = plain(
        "operations",
        "The process may take requests.",
        &[("200", "ready"), ("503", "not ready, and why")],
    );
    let old = |operation: &Value| {
        let mut operation = operation.clone();
        operation["deprecated"] = json!(true);
        operation
    };
    let described = plain(
        "identity",
        "Who issues tokens here and where to ask about them (RFC 8414, OpenID Connect Discovery).",
        &[("200", "The document; its `issuer` is the `iss` of every token.")],
    );
    let mut operations = vec![
        ("/api/v1/uploads", one("post", upload)),
        ("/api/v1/uploads/{id}", Map::from_iter([("patch".to_owned(), append), ("head".to_owned(), probe)])),
        ("/api/v1/users/me/export", one("post", export)),
        ("/media/{asset}/{file}", one("get", media)),
        ("/user/v1/health/liveness", one("get", old(&liveness))),
        ("/user/v1/health/readiness", one("get", old(&readiness))),
        ("/health/liveness", one("get", liveness)),
        ("/health/readiness", one("get", readiness)),
    ];
    operations.extend(discovery::PATHS.iter().map(|path| (*path, one("get", described.clone()))));
    operations
}

fn access(access: Access) -> String {
    match access {
        Access::Public => "anyone".to_owned(),
        Access::User => "any signed-in user".to_owned(),
        Access::Owner => "the owner; anything else is not found".to_owned(),
        Access::CourseStaff => "operator, admin, or an instructor of the course".to_owned(),
        Access::Roles(roles) => roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or "),
        Access::May(permission) => format!("permission {}", permission.name()),
        Access::Service => "machines with a service token".to_owned(),
    }
}

/// Requests that appear only as path and query parameters need no component.
fn strip_request_fields(schemas: &mut Map<String, Value>) {
    let bodies: Vec<&str> = ROUTES
        .iter()
        .filter(|route| route.method != "GET" && !route.path.contains('{'))
        .filter_map(|route| lectern_subjects::request(route.subject))
        .map(|info| info.name)
        .collect();
    let requests: Vec<&str> = lectern_subjects::requests().map(|info| info.name).collect();
    schemas.retain(|name, _| !requests.contains(&name.as_str()) || bodies.contains(&name.as_str()));
}
