//! `docs/api.md`, rendered from the OpenAPI document and held to it. `UPDATE=1 cargo test -p agent-runner-api --test
//! routes reference` rewrites it.

use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# HTTP API

<!-- Rendered from api/src/routes and api/src/schema.rs; rewrite it with
UPDATE=1 cargo test -p agent-runner-api --test routes reference -->

`http://127.0.0.1:8000` unless `AGENT_RUNNER_LISTEN` says otherwise; the running server has this as `/openapi.json`.
Bodies are JSON. Errors are `application/problem+json` (RFC 9457) and list every bad field with its JSON pointer, its value
and what is allowed. Beside what stands below, any answer can be 401 or 403 (the token), 421 (the `Host` header names
somebody else) or 504 (not answered in time).

* **Tokens**: where `AGENT_RUNNER_TOKENS_FILE` is set every request but `/health`, `/livez`, `/readyz` and
  `/openapi.json` needs `Authorization: Bearer …`; see [access.md](access.md).
* **Repeats**: a `POST` with an `Idempotency-Key` can be sent again: the same body answers with the same job and 200,
  another body with 422.
* **Edits**: `ETag` names `desired` as it was shown; `If-Match` refuses the edit with 412 if it has changed since.
  `?dry_run=true` answers what would be written and what the reconciler would do, and writes nothing.
* **Lists** come in pages, newest first: `next_cursor` of an answer is the `cursor` of the next request.

";

fn path_of_docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")
}

#[test]
fn the_reference_of_the_api_says_what_the_openapi_document_says() {
    let document = serde_json::to_value(api::document()).unwrap();
    let wanted = rendered(&document);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path_of_docs(), &wanted).unwrap();
    }
    let found = std::fs::read_to_string(path_of_docs()).unwrap_or_default();
    let rewrite = "UPDATE=1 cargo test -p agent-runner-api --test routes reference";
    assert!(found == wanted, "docs/api.md is not what the code says; rewrite it with {rewrite}");
}

fn rendered(document: &Value) -> String {
    let mut out = HEAD.to_owned();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            of_operation(&mut out, &method.to_uppercase(), path, operation);
        }
    }
    out.push_str("## Bodies\n\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        of_schema(&mut out, name, schema);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Words in one line, fit for the cell of a table.
fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn table(out: &mut String, head: [&str; 3], rows: &[[String; 3]]) {
    if rows.is_empty() {
        return;
    }
    // Writing to a string cannot fail, here as everywhere below.
    let _ = writeln!(out, "| {} |\n|---|---|---|", head.join(" | "));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

fn of_operation(out: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = write!(out, "## {method} {path}\n\n{}\n\n", words(&operation["summary"]));
    let description = words(&operation["description"]);
    if !description.is_empty() {
        let _ = write!(out, "{description}\n\n");
    }
    let all = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    let parameters = all.iter().filter(|p| p["in"] != "path").map(|p| {
        let place = if p["in"] == "header" { " (header)" } else { "" };
        [format!("`{}`{place}", p["name"].as_str().unwrap()), kind(&p["schema"]), words(&p["description"])]
    });
    table(out, ["parameter", "type", "meaning"], &parameters.collect::<Vec<_>>());
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = write!(out, "Body: {}\n\n", kind(body));
    }
    let everywhere = |status: &str| matches!(status, "401" | "403" | "421" | "504");
    let answers = operation["responses"].as_object().unwrap().iter();
    let answers = answers.filter(|(status, _)| !everywhere(status)).map(|(status, answer)| {
        let bodies =
            answer["content"].as_object().into_iter().flatten().map(|(mime, content)| match mime.as_str() {
                "application/json" | "application/problem+json" => kind(&content["schema"]),
                mime => format!("`{mime}`"),
            });
        [status.clone(), words(&answer["description"]), bodies.collect::<Vec<_>>().join(", ")]
    });
    table(out, ["answer", "when", "body"], &answers.collect::<Vec<_>>());
}

fn of_schema(out: &mut String, name: &str, schema: &Value) {
    let _ = write!(out, "### {name}\n\n");
    let description = words(&schema["description"]);
    if !description.is_empty() {
        let _ = write!(out, "{description}\n\n");
    }
    let Some(fields) = schema["properties"].as_object() else {
        let _ = write!(out, "{}\n\n", kind(schema));
        return;
    };
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = fields.iter().map(|(field, of)| {
        let always = if required.iter().any(|name| name == field) { "" } else { ", optional" };
        [format!("`{field}`"), format!("{}{always}", kind(of)), meaning(of)]
    });
    table(out, ["field", "type", "meaning"], &rows.collect::<Vec<_>>());
}

/// The meaning of a field; that of a choice stands in the choice that is not null.
fn meaning(of: &Value) -> String {
    let choices = of["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let said = std::iter::once(of).chain(choices).map(|of| words(&of["description"]));
    said.into_iter().find(|words| !words.is_empty()).unwrap_or_default()
}

fn kind(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let kinds = choices.iter().filter(|choice| choice["type"] != "null").map(kind);
        return kinds.collect::<Vec<_>>().join(" or ");
    }
    if let Some(all) = schema["enum"].as_array() {
        return all
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if schema["anyOf"].is_array() {
        return "flag".to_owned();
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    let kind = match types.join(" or ").as_str() {
        "object or array or string or number or boolean" => "any JSON".to_owned(),
        "array" => format!("list of {}", kind(&schema["items"])),
        other => other.to_owned(),
    };
    match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => kind,
        (least, Value::Null) => format!("{kind}, from {least}"),
        (Value::Null, most) => format!("{kind}, to {most}"),
        (least, most) => format!("{kind}, {least} to {most}"),
    }
}
