//! The document and the router say the same, and the document and the answers too.

use crate::rig::{JSON, Rig};
use axum::body::Body;
use backends::{Artifacts, Content};
use contract::Reason;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Paths with their methods as the document has them.
fn documented(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| {
            (path.clone(), item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect())
        })
        .collect()
}

#[tokio::test]
async fn every_documented_method_is_routed_and_every_routed_method_is_documented() {
    let rig = Rig::new();
    let document = rig.get("/openapi.json").await.json();
    let documented = documented(&document);
    let routed: BTreeMap<String, BTreeSet<String>> = {
        let mut found = BTreeMap::new();
        for path in api::paths() {
            let concrete = path.replace("{id}", "a").replace("{*path}", "x");
            let answer = rig.send("BREW", &concrete, &[], Body::empty()).await;
            answer.problem(405, "method-not-allowed");
            let methods = answer.header("allow").split(',').filter(|m| *m != "HEAD").map(str::to_owned);
            found.insert(path.replace("{*path}", "{path}"), methods.collect());
        }
        found
    };
    assert_eq!(documented, routed);
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere_and_every_error_is_a_problem() {
    let document = serde_json::to_value(api::document()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name = text[at + "#/components/schemas/".len()..].split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is not described");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(
                operation["summary"].is_string() && operation["operationId"].is_string(),
                "{method} {path}"
            );
            for (status, response) in operation["responses"].as_object().unwrap() {
                let kinds: Vec<_> =
                    response["content"].as_object().into_iter().flatten().map(|(k, _)| k).collect();
                if status.starts_with('4') {
                    assert_eq!(kinds, ["application/problem+json"], "{method} {path} {status}");
                }
            }
        }
    }
}

/// The members of an object that the document requires and allows.
fn fields(document: &Value, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = &document["components"]["schemas"][name];
    let all = schema["properties"]
        .as_object()
        .unwrap_or_else(|| panic!("{name}: {schema}"))
        .keys()
        .cloned()
        .collect();
    let required = schema["required"].as_array().into_iter().flatten();
    (required.map(|r| r.as_str().unwrap().to_owned()).collect(), all)
}

#[track_caller]
fn agrees(document: &Value, name: &str, answer: &Value) {
    let (required, all) = fields(document, name);
    let found: BTreeSet<String> = answer.as_object().unwrap().keys().cloned().collect();
    assert!(required.is_subset(&found), "{name} requires {required:?}, there is {found:?}");
    assert!(found.is_subset(&all), "{name} describes {all:?}, there is {found:?}");
}

#[tokio::test]
async fn answers_have_the_members_that_the_document_describes() {
    let rig = Rig::new();
    let document = serde_json::to_value(api::document()).unwrap();
    let made = rig.send("POST", "/jobs", &[JSON], r#"{"job_type":"echo"}"#).await.json();
    agrees(&document, "JobDocument", &made);
    let path = format!("/jobs/{}", made["job_id"].as_str().unwrap());
    let id = contract::JobId::new(made["job_id"].as_str().unwrap()).unwrap();
    rig.claim(&id).await;
    rig.end(&id, Reason::WorkerLost).await;
    for (tail, name) in [
        ("", "JobDocument"),
        ("/explain", "Explanation"),
        ("/attempts", "AttemptList"),
        ("/events", "EventList"),
        ("/artifacts", "ArtifactList"),
        ("/none", "Problem"),
    ] {
        agrees(&document, name, &rig.get(&format!("{path}{tail}")).await.json());
    }
    let told = rig.get(&format!("{path}/explain")).await.json();
    agrees(&document, "ConditionDocument", &told["conditions"][0]);
    let attempts = rig.get(&format!("{path}/attempts")).await.json();
    agrees(&document, "AttemptDocument", &attempts["attempts"][0]);
    let events = rig.get(&format!("{path}/events")).await.json();
    agrees(&document, "EventDocument", &events["events"][0]);
    let list = rig.get("/jobs").await.json();
    agrees(&document, "JobList", &list);
    agrees(&document, "JobSummary", &list["jobs"][0]);
    agrees(&document, "HealthDocument", &rig.get("/health").await.json());
    let changed = rig.post(&format!("{path}/retry?change_cause=x")).await.json();
    assert_eq!(changed["change_cause"], "x");
    agrees(&document, "JobDocument", &changed);
    let preview = rig.patch(&format!("{path}?dry_run"), r#"{"priority":1}"#).await.json();
    agrees(&document, "DryRun", &preview);
    agrees(&document, "DecisionDocument", &preview["decision"]);
    agrees(&document, "ChangeDocument", &preview["changes"][0]);
}

#[test]
fn the_described_request_has_exactly_the_fields_of_desired() {
    let document = serde_json::to_value(api::document()).unwrap();
    let full = r#"{"job_type":"e","queue":"q","resources":{"cpu":256,"memory_mib":512},"env":{"A":"b"},"labels":{"a":"b"},
        "max_cost_usd":1,"failure_policy":{"rules":[{"exit_codes":[1],"classes":["OutOfMemory"],"stop_codes":["x"],"action":"Fail"}]}}"#;
    let stored = contract::Desired::parse(full).unwrap().to_text();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let names = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&document, "JobRequest").1, names(&stored));
    assert_eq!(fields(&document, "BackoffRequest").1, names(&stored["backoff"]));
    assert_eq!(fields(&document, "FailureRuleRequest").1, names(&stored["failure_policy"]["rules"][0]));
    let words = document["components"]["schemas"]["ReasonWord"]["enum"].as_array().unwrap().len();
    assert_eq!(words, Reason::ALL.len());
}

#[tokio::test]
async fn a_flag_may_stand_without_a_value_and_the_document_says_so() {
    // Found by schemathesis: `?pretty=` was accepted, and the document said that only true and false are.
    let rig = Rig::new();
    for value in ["", "=", "=1", "=true"] {
        assert_eq!(rig.get(&format!("/health?pretty{value}")).await.status, 200, "{value}");
    }
    let document = rig.get("/openapi.json").await.json();
    let parameters = document["paths"]["/health"]["get"]["parameters"].as_array().unwrap().clone();
    let schema = &parameters.iter().find(|p| p["name"] == "pretty").unwrap()["schema"];
    assert_eq!(schema["anyOf"][0]["type"], "boolean");
    assert_eq!(schema["anyOf"][1]["enum"], serde_json::json!(["", "1", "0"]));
}

#[tokio::test]
async fn any_json_value_is_described_as_one() {
    // Found by schemathesis: the numbers of a dry run's changes do not fit a schema that says "object", and null does
    // not fit a choice of exactly one of "any value" and "null".
    let document = Rig::new().get("/openapi.json").await.json();
    let mut kinds = document["components"]["schemas"]["Any"]["type"].as_array().unwrap().clone();
    kinds.sort_by_key(|kind| kind.to_string());
    assert_eq!(kinds, ["array", "boolean", "null", "number", "object", "string"]);
    for (name, member) in [("ChangeDocument", "before"), ("JobRequest", "payload"), ("JobDocument", "result")]
    {
        let property = &document["components"]["schemas"][name]["properties"][member];
        assert_eq!(property["$ref"], "#/components/schemas/Any", "{name}: {property}");
        assert!(property["oneOf"].is_null(), "{name}: {property}");
    }
}

#[tokio::test]
async fn the_document_names_each_type_that_an_artifact_is_sent_as() {
    // Found by schemathesis: it named one of three.
    let rig = Rig::new();
    let document = rig.get("/openapi.json").await.json();
    let named = &document["paths"]["/jobs/{id}/artifacts/{path}"]["get"]["responses"]["200"]["content"];
    let named: BTreeSet<_> = named.as_object().unwrap().keys().cloned().collect();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let mut sent = BTreeSet::new();
    for name in ["a.json", "a.log", "a.txt", "a.html", "a"] {
        rig.artifacts.put(&format!("jobs/{id}/{name}"), Content::Bytes(b"{}")).await.unwrap();
        let answer = rig.get(&format!("/jobs/{id}/artifacts/{name}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        sent.insert(answer.header("content-type").split(';').next().unwrap().to_owned());
    }
    assert_eq!(sent, named);
}
