//! The JSON Schemas: complete, described, strict, and true to what is really enforced.

use std::collections::BTreeMap;

use lectern_subjects::{facts, requests};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

/// Bounds that the schema tells and the handler keeps, since its answer says more than a bad shape does.
const KEPT_BY_HANDLER: &[(&str, &str, &str)] = &[
    // a weak password is answered with every rule that it misses
    ("Register", "password", "minLength"),
    ("CreateUser", "password", "minLength"),
    ("ResetPassword", "new_password", "minLength"),
    ("ChangePassword", "new_password", "minLength"),
    // 413, not 400
    ("CreateUpload", "length", "maximum"),
];

/// Every type that stands in the contract, by name.
fn definitions() -> Map<String, Value> {
    let mut generator = SchemaGenerator::default();
    for info in requests() {
        (info.request_schema)(&mut generator);
        (info.reply_schema)(&mut generator);
    }
    for info in facts() {
        (info.schema)(&mut generator);
    }
    generator.take_definitions(true)
}

/// The schema of one request, by its type's name.
fn schema_of(name: &str) -> Value {
    definitions().get(name).unwrap_or_else(|| panic!("no type {name}")).clone()
}

/// The types that may come in.
fn incoming() -> Map<String, Value> {
    let mut generator = SchemaGenerator::default();
    for info in requests() {
        (info.request_schema)(&mut generator);
    }
    generator.take_definitions(true)
}

/// Every object schema within a schema, itself included.
fn objects<'a>(schema: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
    match schema {
        Value::Object(map) => {
            if map.get("type") == Some(&json!("object")) {
                found.push(map);
            }
            map.values().for_each(|inner| objects(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| objects(inner, found)),
        _ => {}
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

#[test]
fn every_message_has_a_schema_under_the_name_of_its_type() {
    let definitions = definitions();
    for name in requests().map(|info| info.name).chain(facts().map(|info| info.name)) {
        assert!(definitions.contains_key(name), "{name}");
    }
    for name in definitions.keys() {
        // schemars numbers the second of two types with one name
        assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}: a second type has this name");
    }
}

#[test]
fn every_type_and_every_property_is_described() {
    let mut silent = Vec::new();
    for (name, schema) in &definitions() {
        let described = |schema: &Value| schema["description"].as_str().is_some_and(|text| text.len() > 3);
        if !described(schema) {
            silent.push(name.clone());
        }
        silent.extend(properties(schema).filter(|(_, p)| !described(p)).map(|(p, _)| format!("{name}.{p}")));
    }
    assert!(silent.is_empty(), "without description: {silent:?}");
}

#[test]
fn every_object_that_comes_in_refuses_unknown_properties() {
    for (name, schema) in &incoming() {
        let mut found = Vec::new();
        objects(schema, &mut found);
        for object in found {
            assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{name}");
        }
    }
}

#[test]
fn money_is_never_a_float() {
    let mut seen = 0;
    for (name, schema) in &definitions() {
        for (property, schema) in properties(schema) {
            let text = schema.to_string();
            if property.ends_with("_minor") {
                assert!(text.contains("int64") && !text.contains("number"), "{name}.{property}: {text}");
            } else if ["price", "amount", "total"].contains(&property.as_str()) {
                let exact = text.contains("Decimal") || text.contains("string");
                assert!(exact && !text.contains("number"), "{name}.{property}: {text}");
            } else {
                continue;
            }
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} amounts");
}

#[test]
fn the_schema_tells_the_bounds_that_custom_rules_keep() {
    let expected = [
        ("Register", "email", json!({ "format": "email", "maxLength": 255 })),
        ("Register", "password", json!({ "minLength": 8, "maxLength": 128 })),
        ("Login", "email", json!({ "format": "email", "maxLength": 255 })),
        ("Login", "password", json!({ "minLength": 8 })),
        ("ResetPassword", "new_password", json!({ "minLength": 8, "maxLength": 128 })),
        ("ChangePassword", "new_password", json!({ "minLength": 8, "maxLength": 128 })),
        ("Register", "name", json!({ "minLength": 2, "maxLength": 100 })),
        ("Register", "phone", json!({ "pattern": r"^\+[1-9][0-9]{6,14}$" })),
        ("VerifyEmail", "code", json!({ "pattern": "^[0-9]{6}$" })),
        ("CreateCourse", "title", json!({ "minLength": 1, "maxLength": 200 })),
        ("CreateCourse", "description", json!({ "maxLength": 20_000 })),
        ("UpdateCourse", "title", json!({ "minLength": 1, "maxLength": 200 })),
        ("AddSession", "duration_ms", json!({ "minimum": 1, "maximum": 86_400_000 })),
        ("AddSession", "completion_threshold", json!({ "minimum": 0.001, "maximum": 1.0 })),
        ("SendBeats", "events", json!({ "minItems": 1, "maxItems": 200 })),
        ("Beat", "rate", json!({ "minimum": 0.25, "maximum": 4.0 })),
        ("Beat", "seq", json!({ "minimum": 1 })),
        ("Beat", "position_to_ms", json!({ "minimum": 0 })),
        ("StopPlayback", "position_ms", json!({ "minimum": 0 })),
        ("CreateUpload", "length", json!({ "minimum": 1, "maximum": 8_589_934_592_i64 })),
        (
            "CompleteUpload",
            "sha256",
            json!({ "minLength": 64, "maxLength": 64, "pattern": "^[0-9a-f]{64}$" }),
        ),
        ("ListCourses", "limit", json!({ "minimum": 1, "maximum": 100 })),
    ];
    let definitions = definitions();
    for (name, property, bounds) in expected {
        let schema = &definitions[name]["properties"][property];
        for (bound, value) in bounds.as_object().unwrap() {
            assert_eq!(&schema[bound], value, "{name}.{property} {bound}");
        }
    }
    let courses = &schema_of("Scope")["oneOf"][1]["properties"]["courses"];
    assert_eq!((&courses["minItems"], &courses["maxItems"]), (&json!(1), &json!(500)));
}

/// A value just beyond a bound, made from the example's.
fn beyond(bound: &str, limit: &Value, example: &Value) -> Option<Value> {
    let count = usize::try_from(limit.as_i64().unwrap_or_default()).ok();
    Some(match bound {
        "maxLength" => json!("a".repeat(count? + 1)),
        "minLength" => json!("a".repeat(count?.checked_sub(1)?)),
        "maxItems" => json!(vec![example.get(0)?; count? + 1]),
        "minItems" => json!(vec![example.get(0)?; count?.checked_sub(1)?]),
        "minimum" if limit.is_i64() => json!(limit.as_i64()? - 1),
        "maximum" if limit.is_i64() => json!(limit.as_i64()? + 1),
        "minimum" => json!(limit.as_f64()? - 0.01),
        "maximum" => json!(limit.as_f64()? + 0.01),
        _ => return None,
    })
}

#[test]
fn every_bound_that_a_schema_tells_is_kept_and_its_breach_is_named() {
    let definitions = definitions();
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for info in requests() {
        for (property, schema) in properties(&definitions[info.name]) {
            for (bound, limit) in schema.as_object().unwrap() {
                let mut example: Value = serde_json::from_str(info.golden).unwrap();
                let Some(value) = beyond(bound, limit, &example["request"][property]) else { continue };
                if KEPT_BY_HANDLER.contains(&(info.name, property, bound)) {
                    continue;
                }
                example["request"][property] = value;
                let refused = (info.round_trip)(&example.to_string());
                let pointer = format!("\"/{property}");
                let named = refused.as_ref().is_err_and(|text| text.contains(&pointer));
                assert!(named, "{}.{property} {bound} {limit}: {refused:?}", info.name);
                *tried.entry(bound.clone()).or_default() += 1;
            }
        }
    }
    for bound in ["maxLength", "minLength", "minimum", "maximum", "maxItems", "minItems"] {
        assert!(tried.contains_key(bound), "no {bound} was tried: {tried:?}");
    }
}

#[test]
fn every_property_that_a_schema_requires_is_named_when_it_is_missing() {
    let definitions = definitions();
    for info in requests() {
        let required = definitions[info.name]["required"].as_array().cloned().unwrap_or_default();
        let refused = (info.round_trip)(r#"{ "request": { "no_such_field": 1 }, "reply": {} }"#).unwrap_err();
        assert!(refused.contains("/no_such_field"), "{}: {refused}", info.name);
        for property in required {
            let pointer = format!("\"/{}\"", property.as_str().unwrap());
            assert!(refused.contains(&pointer), "{} {property}: {refused}", info.name);
        }
    }
}
