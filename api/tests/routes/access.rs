//! Tokens, scopes and hosts: every route of the OpenAPI document with every kind of caller.

use crate::rig::{Answer, JSON, Rig};
use api::Access;
use backends::settings::AccessSettings;
use sha2::{Digest, Sha256};

/// Routes that anybody may ask.
const OPEN: [&str; 4] = ["/health", "/livez", "/readyz", "/openapi.json"];

struct Guarded {
    _folder: tempfile::TempDir,
    rig: Rig,
}

fn guarded() -> Guarded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    let entry = |name: &str, scopes: &str, expires: &str| {
        let digest: String =
            Sha256::digest(format!("secret-{name}")).iter().map(|b| format!("{b:02x}")).collect();
        format!("[tokens.{name}]\nsha256 = \"{digest}\"\nscopes = [{scopes}]\nexpires_at = \"{expires}\"\n")
    };
    let text = [
        entry("reader", "\"read\"", "2999-01-01T00:00:00Z"),
        entry("submitter", "\"submit\"", "2999-01-01T00:00:00Z"),
        entry("operator", "\"operate\"", "2999-01-01T00:00:00Z"),
        entry("past", "\"read\", \"submit\", \"operate\"", "2020-01-01T00:00:00Z"),
    ];
    std::fs::write(&path, text.concat()).unwrap();
    let access = AccessSettings { tokens_file: Some(path), ..AccessSettings::default() };
    Guarded { _folder: folder, rig: Rig::guarded(Access::open(&access).unwrap()) }
}

impl Guarded {
    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        let header = token.map(|token| format!("Bearer secret-{token}"));
        let mut headers = vec![JSON];
        headers.extend(header.as_deref().map(|value| ("authorization", value)));
        self.rig.send(method, path, &headers, "{}").await
    }
}

/// Every operation of the document, with something in the place of each parameter.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(api::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let filled = path.replace("{id}", "none").replace("{path}", "none");
            found.push((method.to_uppercase(), filled));
        }
    }
    assert!(found.len() >= 19, "{found:?}");
    found
}

#[tokio::test]
async fn every_route_asks_for_a_valid_token_with_the_scope_that_it_needs() {
    let guarded = guarded();
    for (method, path) in operations() {
        let open = OPEN.contains(&path.as_str());
        let scope = match (method.as_str(), path.as_str()) {
            ("GET", _) => "reader",
            ("POST", "/jobs" | "/jobs/batch") => "submitter",
            _ => "operator",
        };
        for token in
            [None, Some("unknown"), Some("past"), Some("reader"), Some("submitter"), Some("operator")]
        {
            let answer = guarded.ask(&method, &path, token).await;
            let status = answer.status.as_u16();
            let case = format!("{method} {path} with {token:?}: {answer:?}");
            match token {
                _ if open => assert!(![401, 403].contains(&status), "{case}"),
                None | Some("unknown" | "past") => {
                    assert_eq!(status, 401, "{case}");
                    assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"agent-runner\"", "{case}");
                    assert_eq!(answer.json()["type"], "urn:agent-runner:problem:unauthenticated", "{case}");
                }
                Some(token) if token == scope => assert!(![401, 403].contains(&status), "{case}"),
                Some(_) => {
                    assert_eq!(status, 403, "{case}");
                    let problem = answer.problem(403, "forbidden");
                    let needed = match scope {
                        "reader" => "read",
                        "submitter" => "submit",
                        _ => "operate",
                    };
                    assert!(problem["detail"].as_str().unwrap().contains(needed), "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn who_asks_without_a_token_does_not_learn_which_paths_exist() {
    let guarded = guarded();
    assert_eq!(guarded.ask("GET", "/nothing", None).await.status, 401);
    assert_eq!(guarded.ask("GET", "/nothing", Some("operator")).await.status, 404);
}

#[tokio::test]
async fn a_job_is_stored_under_the_name_of_the_token() {
    let guarded = guarded();
    let headers = [JSON, ("authorization", "bearer secret-submitter")];
    let answer = guarded.rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["created"]["actor"], "submitter");
    for broken in ["Basic c2VjcmV0", "Bearer", "Bearer ", "secret-submitter"] {
        let answer = guarded.rig.send("POST", "/jobs", &[JSON, ("authorization", broken)], "{}").await;
        let problem = answer.problem(401, "unauthenticated");
        assert_eq!(problem["detail"], "the Authorization header must be: Bearer <token>", "{broken}");
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let rig = Rig::new();
    let answer = rig.send("GET", "/jobs", &[("host", "evil.example:8000")], "").await;
    assert_eq!(answer.status, 421, "{answer:?}");
    assert_eq!(answer.json()["type"], "urn:agent-runner:problem:misdirected");
    for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"] {
        assert_eq!(rig.send("GET", "/jobs", &[("host", host)], "").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_write_that_the_page_of_another_site_sends_is_refused_where_no_token_keeps_it_out() {
    let rig = Rig::new();
    let id = rig.submit(r#"{"job_type":"echo"}"#).await;
    let cancel = format!("/jobs/{id}/cancel");
    let from = |origin: &'static str| [("host", "localhost:8000"), ("origin", origin)];
    for other in ["https://evil.example", "http://localhost:3000", "http://localhost", "null", ""] {
        rig.send("POST", &cancel, &from(other), "").await.problem(403, "cross-site");
        assert_eq!(rig.send("GET", "/jobs", &from(other), "").await.status, 200, "{other}");
    }
    assert_eq!(rig.get(&format!("/jobs/{id}")).await.json()["desired"]["cancel"], false);
    assert_eq!(rig.send("POST", &cancel, &from("http://localhost:8000"), "").await.status, 200);
    let guarded = guarded();
    let headers = [JSON, ("authorization", "bearer secret-submitter"), ("origin", "https://ours.example")];
    assert_eq!(guarded.rig.send("POST", "/jobs", &headers, r#"{"job_type":"echo"}"#).await.status, 201);
}

#[tokio::test]
async fn a_request_has_a_name_in_the_answer_and_a_harmless_one_is_kept() {
    let rig = Rig::new();
    let answer = rig.send("GET", "/jobs", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(answer.headers["x-request-id"], "mine-1");
    let answer = rig.send("GET", "/jobs", &[("x-request-id", "not a name")], "").await;
    assert_eq!(answer.headers["x-request-id"].len(), 32, "{answer:?}");
}

#[tokio::test]
async fn who_submitted_and_who_changed_a_job_are_the_names_of_their_tokens() {
    let guarded = guarded();
    let headers = |token: &'static str| [JSON, ("authorization", token)];
    let body = r#"{"job_type":"echo"}"#;
    let made = guarded.rig.send("POST", "/jobs", &headers("Bearer secret-submitter"), body).await.json();
    let path = format!("/jobs/{}/cancel?change_cause=x", made["job_id"].as_str().unwrap());
    let changed = guarded.rig.send("POST", &path, &headers("Bearer secret-operator"), "").await.json();
    let by = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (by(&changed["created"]["actor"]), by(&changed["updated_by"])),
        ("submitter".into(), "operator".into())
    );
}
