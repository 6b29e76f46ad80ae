//! What holds of every operation, added to the document at one place: answers that any request can meet, what
//! parameters allow, and where the id of a new job leads.

use crate::routes::create::KEY_LIMIT;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi as Document;

/// Bodies whose unknown members are refused.
const CLOSED: [&str; 7] = [
    "JobRequest",
    "BackoffRequest",
    "FailurePolicyRequest",
    "FailureRuleRequest",
    "ResourcesRequest",
    "BatchRequest",
    "RetryRequest",
];

/// Makes the document say all of it.
pub(super) struct Precise;

impl utoipa::Modify for Precise {
    fn modify(&self, document: &mut Document) {
        let mut value = serde_json::to_value(&*document).expect("the document holds strings and lists only");
        let links = links(&value);
        let paths = value["paths"].as_object_mut().into_iter().flatten();
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                answers(path, method, operation);
                for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
                    let (name, place) = (parameter["name"].clone(), parameter["in"].clone());
                    let schema = &mut parameter["schema"];
                    never_null(schema);
                    flag(schema);
                    narrow(name.as_str().unwrap_or_default(), place == "header", schema);
                }
                if operation["operationId"] == "patch_job" {
                    for (_, content) in
                        operation["requestBody"]["content"].as_object_mut().into_iter().flatten()
                    {
                        content["schema"] = json!({"$ref": "#/components/schemas/JobPatch"});
                    }
                }
                if operation["operationId"] == "create_job" {
                    for status in ["200", "201"] {
                        operation["responses"][status]["links"] = links.clone();
                    }
                }
            }
        }
        let schemas = value["components"]["schemas"].as_object_mut().into_iter().flatten();
        let properties = schemas.filter_map(|(_, schema)| schema.get_mut("properties")?.as_object_mut());
        for (_, property) in properties.flatten() {
            any_or_absent(property);
        }
        for name in CLOSED {
            value["components"]["schemas"][name]["additionalProperties"] = Value::Bool(false);
        }
        let mut patch = value["components"]["schemas"]["JobRequest"].clone();
        patch["description"] = json!("Members of `desired` to change; `null` gives one its default again.");
        patch.as_object_mut().map(|patch| patch.remove("required"));
        value["components"]["schemas"]["JobPatch"] = patch;
        *document = serde_json::from_value(value).expect("a document is read as it was written");
    }
}

/// Answers that do not depend on what an operation does: bad parameters and headers, tokens, the `Host` header,
/// too many requests at once, no answer in time.
fn answers(path: &str, method: &str, operation: &mut Value) {
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut add = |status: &str, description: &str| {
        let response = json!({"description": description, "content": problem});
        responses.entry(status).or_insert(response);
    };
    add("400", "Unacceptable parameters or headers");
    add("421", "The Host header names somebody else");
    add("503", "Busy");
    add("504", "Not answered in time");
    if !matches!(path, "/health" | "/livez" | "/readyz" | "/openapi.json") {
        add("401", "A token is needed");
        add("403", "The token does not allow this, or without tokens another site's page asks");
    }
    if matches!(method, "post" | "patch") {
        add("413", "Too large a body");
        add("415", "Not sent as JSON");
        add("422", "Unacceptable fields");
    }
}

/// A parameter that may be left out is not one that may be null: the text `null` would be taken as it is.
fn never_null(schema: &mut Value) {
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<Value> = kinds.iter().filter(|kind| *kind != "null").cloned().collect();
        if let [only] = kinds.as_slice() {
            schema["type"] = only.clone();
        }
    }
}

/// Null is among any values: a choice of exactly one of "any value" and "null" would leave null out.
fn any_or_absent(property: &mut Value) {
    if property["oneOf"][0]["$ref"] == "#/components/schemas/Any" {
        *property = property["oneOf"][0].take();
    }
}

/// A flag is set by its name alone, as in `?pretty`.
fn flag(schema: &mut Value) {
    if schema["type"] == "boolean" {
        *schema = json!({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["", "1", "0"]}]});
    }
}

/// What the routes check of their parameters.
fn narrow(name: &str, header: bool, schema: &mut Value) {
    let words = contract::Status::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join("|");
    let more = match name {
        "limit" => json!({"minimum": 1, "maximum": 500}),
        "attempt" => json!({"minimum": 1, "maximum": u32::MAX}),
        "tail" => json!({"minimum": 0, "maximum": 1_000_000}),
        "stream" => json!({"enum": ["stdout", "stderr"]}),
        "until" => json!({"enum": ["changed", "finished"]}),
        "status" => json!({"pattern": format!("^({words})(,({words}))*$")}),
        "label" => json!({"pattern": "^[A-Za-z0-9_./-]{1,63}(=[^\\u0000-\\u001f\\u007f-\\u009f]{0,256})?$"}),
        "change_cause" => json!({"minLength": 1, "maxLength": contract::updated::CAUSE_LIMIT,
            "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"}),
        "Idempotency-Key" => json!({"minLength": 1, "maxLength": KEY_LIMIT,
            "pattern": "^[!-~]([ -~]*[!-~])?$"}),
        "If-Match" if header => json!({"pattern": "^(\\*|\"[!#-~]*\")$"}),
        "id" => json!({"pattern": "^[a-z0-9][a-z0-9-]{0,63}$"}),
        _ => return,
    };
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
}

/// From a new job to everything that has its id in the path.
fn links(document: &Value) -> Value {
    let mut links = Map::new();
    let items = document["paths"].as_object().into_iter().flatten();
    for (path, item) in items.filter(|(path, _)| path.starts_with("/jobs/{id}") && !path.contains("{path}")) {
        for operation in item.as_object().into_iter().flatten().map(|(_, operation)| operation) {
            if let Some(id) = operation["operationId"].as_str() {
                let link = json!({"operationId": id, "parameters": {"id": "$response.body#/job_id"},
                    "description": format!("The job that was made, at {path}")});
                links.insert(id.to_owned(), link);
            }
        }
    }
    Value::Object(links)
}
