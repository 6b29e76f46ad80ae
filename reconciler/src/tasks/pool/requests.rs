//! Launch requests of the pool.

use contract::desired::Resources;
use contract::{Desired, JsonText, LaunchRequest};
use serde::{Deserialize, Serialize};

/// The name of this runtime in a launch request.
const RUNTIME: &str = "pool";
/// The built-in job type. It starts no process, so the worker's own may execute it.
const ECHO: &str = "echo";

#[derive(Serialize)]
struct Request<'a> {
    runtime: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inside: bool,
    /// Written down for people. A worker's slots share its machine; nothing is set aside for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources>,
}

#[derive(Deserialize)]
struct Addressee {
    runtime: String,
    #[serde(default)]
    inside: bool,
}

/// The request for a job.
pub(super) fn request(desired: &Desired) -> LaunchRequest {
    let inside = desired.job_type == ECHO;
    let request = Request { runtime: RUNTIME, inside, resources: desired.resources.as_ref() };
    let text = serde_json::to_string(&request).ok().and_then(|text| JsonText::new(text).ok());
    LaunchRequest(text.expect("a struct of strings and numbers is JSON"))
}

/// Whether the worker's own process may execute it. `None`: the request is for another runtime.
pub(super) fn inside(request: &LaunchRequest) -> Option<bool> {
    let found: Addressee = serde_json::from_str(request.0.as_str()).ok()?;
    (found.runtime == RUNTIME).then_some(found.inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_built_in_job_type_is_executed_inside() {
        let text = |job_type| request(&Desired::new(job_type)).0.as_str().to_owned();
        assert_eq!(text("echo"), r#"{"runtime":"pool","inside":true}"#);
        assert_eq!(text("summarize"), r#"{"runtime":"pool"}"#);
        assert_eq!(inside(&request(&Desired::new("echo"))), Some(true));
        assert_eq!(inside(&request(&Desired::new("summarize"))), Some(false));
        let other = LaunchRequest(JsonText::new(r#"{"runtime":"process"}"#).unwrap());
        assert_eq!(inside(&other), None);
    }
}
