//! `/asyncapi.json`: AsyncAPI 3.0, assembled from the contract: every request as request/reply, every fact as a stream.

use lectern_subjects::{FactInfo, RequestInfo};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The document.
pub(crate) fn document() -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.definitions_path = "/components/schemas/".into();
    settings.meta_schema = None;
    let mut generator = SchemaGenerator::new(settings);
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    messages.insert(
        "Problem".to_owned(),
        message("Problem", generator.subschema_for::<lectern_subjects::Problem>().to_value(), None),
    );
    for info in lectern_subjects::requests() {
        add_request(info, &mut generator, &mut channels, &mut operations, &mut messages);
    }
    for info in lectern_subjects::facts() {
        add_fact(info, &mut generator, &mut channels, &mut operations, &mut messages);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lectern",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Requests (`svc.…`) are NATS request/reply with the headers Authorization, Idempotency-Key, If-Match, \
                X-Min-Version, X-Request-Id, traceparent and Lectern-Deadline (unix ms). A refusal carries Nats-Service-Error-Code and a \
                problem document. Facts (`evt.…`) are kept in stream EVENTS; their last token is the key.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": generator.take_definitions(true) },
    })
}

fn add_request(
    info: &RequestInfo,
    generator: &mut SchemaGenerator,
    channels: &mut Map<String, Value>,
    operations: &mut Map<String, Value>,
    messages: &mut Map<String, Value>,
) {
    let golden: Value = serde_json::from_str(info.golden).unwrap_or_default();
    let id = id(info.subject);
    let reply = format!("{}Reply", info.name);
    messages.insert(
        info.name.to_owned(),
        message(info.name, (info.request_schema)(generator).to_value(), Some(&golden["request"])),
    );
    messages.insert(
        reply.clone(),
        message(&reply, (info.reply_schema)(generator).to_value(), Some(&golden["reply"])),
    );
    channels.insert(id.clone(), json!({ "address": info.subject, "messages": { info.name: of(info.name) } }));
    channels.insert(
        format!("{id}_reply"),
        json!({
            "address": null,
            "messages": { reply.as_str(): of(&reply), "Problem": of("Problem") },
        }),
    );
    operations.insert(
        id.clone(),
        json!({
            "action": "receive",
            "summary": info.summary.trim(),
            "channel": { "$ref": format!("#/channels/{id}") },
            "messages": [{ "$ref": format!("#/channels/{id}/messages/{}", info.name) }],
            "reply": {
                "address": { "location": "$message.header#/reply" },
                "channel": { "$ref": format!("#/channels/{id}_reply") },
            },
            "tags": [{ "name": info.service() }],
        }),
    );
}

fn add_fact(
    info: &FactInfo,
    generator: &mut SchemaGenerator,
    channels: &mut Map<String, Value>,
    operations: &mut Map<String, Value>,
    messages: &mut Map<String, Value>,
) {
    let golden: Value = serde_json::from_str(info.golden).unwrap_or_default();
    let id = id(info.subject);
    let data = (info.schema)(generator).to_value();
    let envelope = json!({
        "type": "object",
        "required": ["event_id", "event_type", "version", "occurred_at", "subject_id", "entity_version", "data"],
        "properties": {
            "event_id": { "type": "string", "format": "uuid", "description": "Also Nats-Msg-Id." },
            "event_type": { "const": info.event_type() },
            "version": { "type": "string", "description": "Version of the data's schema (semver)." },
            "occurred_at": { "type": "string", "format": "date-time" },
            "actor_id": { "type": ["string", "null"], "format": "uuid" },
            "subject_id": { "type": "string", "format": "uuid", "description": "The fact's key." },
            "entity_version": { "type": "integer" },
            "causation_id": { "type": ["string", "null"], "format": "uuid" },
            "trace": { "type": ["string", "null"], "description": "W3C traceparent." },
            "data": data,
        },
    });
    let mut described = message(info.name, envelope, None);
    described["examples"] = json!([{ "name": "data", "payload": { "data": golden } }]);
    messages.insert(info.name.to_owned(), described);
    channels.insert(id.clone(), json!({
        "address": format!("{}.{{key}}", info.subject),
        "parameters": { "key": { "description": "The user's id where the fact is about a user, else the entity's." } },
        "messages": { info.name: of(info.name) },
    }));
    operations.insert(
        id.clone(),
        json!({
            "action": "send",
            "summary": info.summary.trim(),
            "channel": { "$ref": format!("#/channels/{id}") },
            "messages": [{ "$ref": format!("#/channels/{id}/messages/{}", info.name) }],
        }),
    );
}

fn message(name: &str, payload: Value, example: Option<&Value>) -> Value {
    let mut message = json!({ "name": name, "contentType": "application/json", "payload": payload });
    if let Some(example) = example {
        message["examples"] = json!([{ "payload": example }]);
    }
    message
}

fn of(message: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{message}") })
}

fn id(subject: &str) -> String {
    subject.replace('.', "_")
}
