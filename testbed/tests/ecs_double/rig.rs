//! A double and a client that writes the protocol by hand.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed::ecs::{EcsDouble, Execution, Lag, Options, Phases, Quotas, Worker};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) double: EcsDouble,
    agent: ureq::Agent,
}

/// An answer: status and body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wire {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// No quota, no lag, no phase, and a clock that only the test moves.
pub(crate) fn quiet() -> Options {
    Options {
        quotas: Quotas::none(),
        lag: Lag { list: Duration::ZERO, describe: Duration::ZERO },
        phases: Phases::none(),
        time_scale: 0,
        ..Options::default()
    }
}

/// Tasks are shells that run `script`.
pub(crate) fn shell(script: &str) -> Options {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    Options { execution: Execution::Process(Worker { command, env, log: None }), ..quiet() }
}

/// A RunTask that nothing is wrong with.
pub(crate) fn run(token: &str) -> Value {
    json!({
        "cluster": "agent-runner",
        "taskDefinition": "worker:1",
        "launchType": "FARGATE",
        "count": 1,
        "clientToken": token,
        "startedBy": format!("{token}/1"),
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "overrides": {"containerOverrides": [{
            "name": "worker", "environment": [{"name": "AGENT_RUNNER_JOB_ID", "value": token}],
        }]},
    })
}

/// `body` with other members.
pub(crate) fn with(mut body: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("no members") };
    for (name, value) in members {
        body[&name] = value;
    }
    body
}

impl Rig {
    pub(crate) fn start(options: Options) -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        Self { double: EcsDouble::start(options).expect("a double"), agent: config.build().into() }
    }

    /// A call, or why there is no answer.
    pub(crate) fn try_call(&self, action: &str, body: &Value) -> Result<Wire, ureq::Error> {
        self.try_raw(action, &body.to_string())
    }

    /// The same with a body as it is.
    pub(crate) fn try_raw(&self, action: &str, body: &str) -> Result<Wire, ureq::Error> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{action}");
        let request = self.agent.post(self.double.url()).header("x-amz-target", &target);
        let mut response = request.header("content-type", "application/x-amz-json-1.1").send(body)?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().expect("text").to_owned())
                .unwrap_or_default()
        };
        assert_eq!(header("content-type"), "application/x-amz-json-1.1");
        assert_eq!(header("x-amzn-requestid").len(), 36);
        let status = response.status().as_u16();
        let body = response.body_mut().read_json()?;
        Ok(Wire { status, body })
    }

    pub(crate) fn call(&self, action: &str, body: &Value) -> Wire {
        self.try_call(action, body).expect("an answer")
    }

    /// The body of a 200.
    pub(crate) fn ok(&self, action: &str, body: &Value) -> Value {
        let answer = self.call(action, body);
        assert_eq!(answer.status, 200, "{action}: {}", answer.body);
        answer.body
    }

    /// Code and words of a 400.
    pub(crate) fn refused(&self, action: &str, body: &Value) -> (String, String) {
        let answer = self.call(action, body);
        assert_eq!(answer.status, 400, "{action}: {}", answer.body);
        let text = |name: &str| answer.body[name].as_str().expect("a text").to_owned();
        (text("__type"), text("message"))
    }

    /// Runs a task and names it.
    pub(crate) fn launched(&self, body: &Value) -> String {
        let answer = self.ok("RunTask", body);
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0]["taskArn"].as_str().expect("an ARN").to_owned()
    }

    pub(crate) fn describe(&self, arn: &str) -> Value {
        self.ok("DescribeTasks", &json!({"cluster": "agent-runner", "tasks": [arn], "include": ["TAGS"]}))
    }

    /// The task, which is there.
    pub(crate) fn task(&self, arn: &str) -> Value {
        let mut answer = self.describe(arn);
        assert_eq!(answer["failures"], json!([]), "{answer}");
        answer["tasks"][0].take()
    }

    pub(crate) fn stop(&self, arn: &str) -> Value {
        self.ok("StopTask", &json!({"cluster": "agent-runner", "task": arn, "reason": "Cancelled"}))
    }

    pub(crate) fn list(&self, filters: Value) -> Vec<String> {
        let body = with(json!({"cluster": "agent-runner"}), filters);
        let answer = self.ok("ListTasks", &body);
        serde_json::from_value(answer["taskArns"].clone()).expect("ARNs")
    }

    pub(crate) fn admin(&self, path: &str, body: Value) -> Wire {
        let url = format!("{}/_double/{path}", self.double.url());
        let mut response = self.agent.post(url).send(body.to_string()).expect("an answer");
        let status = response.status().as_u16();
        Wire { status, body: response.body_mut().read_json().expect("JSON") }
    }

    pub(crate) fn get(&self, url: &str) -> Wire {
        let mut response = self.agent.get(url).call().expect("an answer");
        let status = response.status().as_u16();
        Wire { status, body: response.body_mut().read_json().expect("JSON") }
    }

    pub(crate) fn advance(&self, seconds: f64) {
        assert_eq!(self.admin("advance", json!({"seconds": seconds})).status, 200);
    }

    pub(crate) fn fault(&self, fault: Value) {
        let answer = self.admin("faults", json!({"faults": [fault]}));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Waits for something that real processes do.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < until, "{what} does not come: {:#}", self.double.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the task has this status.
    pub(crate) fn status(&self, arn: &str, status: &str) -> Value {
        self.until(status, |rig| Some(rig.task(arn)).filter(|task| task["lastStatus"] == status))
    }
}
