//! `/redoc`: the contract as one plain page to read, without scripts. ReDoc itself would have to be fetched from a foreign
//! host, or vendored as a megabyte of somebody else's script, for a page that shows the same document as `/docs`.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Renders an OpenAPI document.
pub(crate) fn page(openapi: &Value) -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Lectern: reference</title><style>\
         body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
         table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem;border-bottom:1px solid #d8dee4}\
         code,pre{font-size:.9em}pre{background:#f6f8fa;padding:.8rem;overflow:auto}h3{margin-top:2rem}\
         .old{color:#6e7781}</style>",
    );
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let _infallible = write!(
        page,
        "<h1>{} {}</h1><p>{}</p><p>The same to try out: <a href=\"/docs/\">/docs</a>; for programs: \
         <a href=\"/openapi.json\">/openapi.json</a>, <a href=\"/asyncapi.json\">/asyncapi.json</a>; \
         <a href=\"/docs/errors\">refusal codes</a>.</p>",
        text(&openapi["info"]["title"]),
        text(&openapi["info"]["version"]),
        text(&openapi["info"]["description"])
    );
    for tag in openapi["tags"].as_array().into_iter().flatten() {
        let _infallible = write!(page, "<h2 id=\"{0}\">{0}</h2>", text(&tag["name"]));
        for (path, methods) in members(&openapi["paths"]) {
            for (method, operation) in members(methods) {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    operation_section(&mut page, method, path, operation);
                }
            }
        }
    }
    page
}

fn operation_section(page: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let class = if operation["deprecated"] == true { " class=\"old\"" } else { "" };
    let _infallible = write!(
        page,
        "<h3{class}><code>{} {}</code></h3><p>{} {}</p>",
        method.to_uppercase(),
        escaped(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    if let Some(subject) = operation["x-nats-subject"].as_str() {
        let _infallible = write!(page, "<p>On the bus: <code>{}</code></p>", escaped(subject));
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let rows: String = parameters
        .map(|it| {
            let need = if it["required"] == true { "required" } else { "" };
            format!(
                "<tr><td><code>{}</code><td>{}<td>{need}<td>{}</tr>",
                text(&it["name"]),
                text(&it["in"]),
                text(&it["description"])
            )
        })
        .collect();
    if !rows.is_empty() {
        let _infallible = write!(page, "<table>{rows}</table>");
    }
    if let Some(example) = operation.pointer("/requestBody/content/application~1json/example") {
        let _infallible = write!(page, "<p>Request</p><pre>{}</pre>", escaped(&format!("{example:#}")));
    }
    page.push_str("<table>");
    for (status, response) in members(&operation["responses"]) {
        let _infallible = write!(page, "<tr><td>{status}<td>{}", text(&response["description"]));
        match response.pointer("/content/application~1json/example") {
            Some(example) if !example.is_null() => {
                let _infallible = write!(page, "<pre>{}</pre></tr>", escaped(&format!("{example:#}")));
            }
            _ => page.push_str("</tr>"),
        }
    }
    page.push_str("</table>");
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i035_the_page_names_every_operation_and_runs_nothing() {
        let openapi = crate::openapi::document();
        let page = page(&openapi);
        for (path, methods) in members(&openapi["paths"]) {
            for (method, operation) in members(methods) {
                let named = page.contains(&format!("<code>{} {path}</code>", method.to_uppercase()));
                assert!(named || operation["tags"][0] == "operations", "{method} {path}");
            }
        }
        assert!(!page.contains("<script") && !page.contains("src="));
        assert_eq!(escaped("<b title=\"&\">"), "&lt;b title=&quot;&amp;&quot;&gt;");
    }
}
