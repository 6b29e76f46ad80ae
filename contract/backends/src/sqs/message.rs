//! What a message says: which job to look at, and nothing else, whatever else it holds.
//!
//! | sender | where the job stands |
//! |---|---|
//! | EventBridge Pipes, from the stream of the jobs or the attempts | `dynamodb.Keys.job_id.S` |
//! | EventBridge, "ECS Task State Change" | the override of `AGENT_RUNNER_JOB_ID` in `detail.overrides`, else `detail.startedBy`, `<job>/<token prefix>` |

use contract::JobId;
use serde::Deserialize;

/// Why a message names no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mute {
    /// No JSON, or of a shape that nobody here sends.
    Malformed,
    /// About something that is not ours: a task that somebody else started in the cluster.
    Foreign,
}

/// The variable that names the job to its worker.
const JOB_ID: &str = "AGENT_RUNNER_JOB_ID";

#[derive(Deserialize)]
struct Message {
    dynamodb: Option<Record>,
    detail: Option<Task>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "Keys")]
    keys: Keys,
}

#[derive(Deserialize)]
struct Keys {
    job_id: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

/// A task as ECS describes it. More fields may come at any time (events reference of ECS), and every one may
/// be absent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    started_by: Option<String>,
    overrides: Option<Overrides>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Overrides {
    container_overrides: Option<Vec<Container>>,
}

#[derive(Deserialize)]
struct Container {
    environment: Option<Vec<Variable>>,
}

#[derive(Deserialize)]
struct Variable {
    name: Option<String>,
    value: Option<String>,
}

/// The job that a message names.
pub(super) fn job_id(body: &str) -> Result<JobId, Mute> {
    let message: Message = serde_json::from_str(body).map_err(|_| Mute::Malformed)?;
    match message {
        Message { dynamodb: Some(record), .. } => {
            JobId::new(record.keys.job_id.text).map_err(|_| Mute::Malformed)
        }
        Message { detail: Some(task), .. } => of_task(task).ok_or(Mute::Foreign),
        Message { .. } => Err(Mute::Malformed),
    }
}

fn of_task(task: Task) -> Option<JobId> {
    let containers = task.overrides.and_then(|o| o.container_overrides).unwrap_or_default();
    let variables = containers.into_iter().filter_map(|container| container.environment).flatten();
    let named = variables.filter(|v| v.name.as_deref() == Some(JOB_ID)).find_map(|v| v.value);
    let named = named.and_then(|name| JobId::new(name).ok());
    named.or_else(|| {
        let (job_id, attempt) = task.started_by.as_deref()?.split_once('/')?;
        // The services of ECS mark their tasks with `ecs-svc/` and a longer number.
        let is_prefix = attempt.len() == 8 && attempt.bytes().all(|b| b.is_ascii_hexdigit());
        JobId::new(job_id).ok().filter(|_| is_prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(message: serde_json::Value) -> Result<String, Mute> {
        job_id(&message.to_string()).map(|job_id| job_id.as_str().to_owned())
    }

    #[test]
    fn records_of_a_stream_name_their_job_whole_or_cut_down_to_the_key() {
        let whole = json!({
            "eventID": "1", "eventName": "MODIFY", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:dynamodb:…:table/agent-runner-attempts/stream/…",
            "dynamodb": {
                "ApproximateCreationDateTime": 1479499740,
                "Keys": {"job_id": {"S": "j-1"}, "token": {"S": "t"}},
                "NewImage": {"gate": {"M": {"state": {"S": "finished"}}}, "job_id": {"S": "other"}},
                "SequenceNumber": "13021600000000001596893679", "SizeBytes": 112,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        });
        assert_eq!(named(whole).unwrap(), "j-1");
        let key = json!({"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"job_id": {"S": "j-1"}}}});
        assert_eq!(named(key).unwrap(), "j-1");
    }

    fn event(detail: serde_json::Value) -> serde_json::Value {
        json!({"version": "0", "detail-type": "ECS Task State Change", "source": "aws.ecs", "detail": detail})
    }

    #[test]
    fn events_of_a_task_name_its_job_by_the_override_or_else_by_the_mark() {
        let environment =
            json!([{"name": "X", "value": "y"}, {"name": "AGENT_RUNNER_JOB_ID", "value": "j-1"}]);
        let sidecar = json!({"name": "sidecar"});
        let overrides = |environment: &serde_json::Value| json!({"containerOverrides": [sidecar, {"name": "worker", "environment": environment}]});
        let task = json!({"startedBy": "j-2/0a1b2c3d", "overrides": overrides(&environment)});
        assert_eq!(named(event(task)).unwrap(), "j-1");
        for overrides in [
            json!({"containerOverrides": []}),
            json!({}),
            json!(null),
            overrides(&json!([{"name": "AGENT_RUNNER_JOB_ID", "value": "not a job id"}])),
            overrides(&json!([{"name": "AGENT_RUNNER_JOB_ID"}])),
        ] {
            let task = json!({"startedBy": "j-2/0a1b2c3d", "overrides": overrides, "version": 3});
            assert_eq!(named(event(task)).unwrap(), "j-2");
        }
    }

    #[test]
    fn tasks_of_somebody_else_are_foreign_and_other_texts_are_malformed() {
        for mark in ["ecs-svc/9223370606521064774", "somebody", "j-1/", "/01234567", "j 1/01234567", ""] {
            assert_eq!(named(event(json!({"startedBy": mark}))), Err(Mute::Foreign), "{mark}");
        }
        assert_eq!(named(event(json!({}))), Err(Mute::Foreign));
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "null",
            "3",
            "{}",
            "[]",
            "\"j-1\"",
            "{\"dynamodb\":{}}",
            "{\"dynamodb\":{\"Keys\":{\"name\":{\"S\":\"leader\"}}}}",
            "{\"dynamodb\":{\"Keys\":{\"job_id\":{\"N\":\"1\"}}}}",
            "{\"dynamodb\":{\"Keys\":{\"job_id\":{\"S\":\"../etc\"}}}}",
            "{\"dynamodb\":{\"Keys\":{\"job_id\":{\"S\":\"\"}}}}",
            "{\"detail\":3}",
            "{\"detail\":{\"startedBy\":{}}}",
            "\u{0}",
            &deep,
        ] {
            assert_eq!(job_id(text), Err(Mute::Malformed), "{:?}", text.get(..99));
        }
    }
}
