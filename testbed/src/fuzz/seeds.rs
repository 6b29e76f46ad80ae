//! Good values of each kind; every field stands in one of them.

use super::Kind;

pub(super) const JOB_TYPES: &str = r#"
[job_types.a]
command = ["python3", "x.py"]
pass_env = ["KEY"]
stop_grace_seconds = 20
defaults = { max_attempts = 5, queue = "q", env = { A = "b" }, backoff = { factor = 3 } }
limits = { attempt_timeout_seconds = 9000, cpu = 4096 }
task_definition = "worker:1"
security_groups = ["sg-1"]
[job_types.b]
command = ["sh"]
[queues.q]
max_running = 4
"#;

const DESIRED: &[&str] = &[
    r#"{"job_type":"echo"}"#,
    r#"{"job_type":"a","payload":{"b":1.0,"a":[1e400,"\u00e4"]},"max_attempts":3,"attempt_timeout_seconds":3600,"start_timeout_seconds":600,"active_deadline_seconds":86400,"backoff":{"initial_seconds":10,"factor":2,"max_seconds":300},"failure_policy":{"rules":[{"exit_codes":[3,4],"classes":["OutOfMemory"],"stop_codes":["X"],"action":"Fail"},{"action":"Retry"}]},"priority":-7,"queue":"q","resources":{"cpu":1024,"memory_mib":2048,"ephemeral_storage_gib":21},"capacity":"spot","env":{"B":"","A":"x y"},"labels":{"team/x":"y"},"ttl_seconds_after_finished":604800,"max_cost_usd":1.5,"suspend":false,"cancel":true,"retry":1}"#,
];
const CREATED: &[&str] = &[
    r#"{"write":"0123456789abcdef","at":"2026-11-22T10:05:12.975Z","actor":"local","idempotency_key":"k","body_digest":"ab"}"#,
    r#"{"write":"0123456789abcdef","at":1764000000123,"actor":""}"#,
];
const CONTROL: &[&str] = &[
    r#"{"version":"0123456789abcdef","epoch":1,"run":1,"attempt":1,"token":"0123456789abcdef0123456789abcdef","tries":0,"infra_tries":2,"refusals":1,"phase":"Running","not_before":"2026-11-22T10:05:12.975Z","reason":"Completed","message":"m","blockers":["Suspended"],"seen_retry":0,"run_started_at":"2026-11-22T10:05:12.975Z","suspended":true,"started_at":1764000000123,"finished_at":"2026-11-22T10:05:12.975Z","expires_at":"2026-11-22T10:05:12.975Z","accepted":{"number":1,"token":"0123456789abcdef0123456789abcdef"},"cost":0.0123}"#,
    r#"{"version":"0123456789abcdef","epoch":0,"run":1,"attempt":0,"tries":0,"infra_tries":0,"phase":"Waiting","seen_retry":0,"run_started_at":0}"#,
];
const STATUS: &[&str] = &[
    r#"{"status":"QUEUED"}"#,
    r#"{"status":"SUCCEEDED","reason":"Completed","message":"m","attempt":2,"started_at":"2026-11-22T10:05:12.975Z","finished_at":"2026-11-22T10:05:12.975Z"}"#,
];
const CLAIM: &[&str] = &[
    r#"{"number":1,"run":1,"retry":0,"epoch":1,"claimed_at":"2026-11-22T10:05:12.975Z","job_type":"echo","program":"echo","payload":{"inline":{"x":1.50}},"attempt_timeout_seconds":60,"start_timeout_seconds":60,"stop_grace_seconds":10,"request":{"a":[1]}}"#,
    r#"{"number":1,"run":1,"retry":0,"epoch":1,"claimed_at":"2026-11-22T10:05:12.975Z","job_type":"a","program":{"command":{"argv":["sh"],"pass_env":["K"]}},"payload":{"stored":{"sha256":"ab","size":70000}},"env":{"A":"b"},"attempt_timeout_seconds":60,"start_timeout_seconds":60,"stop_grace_seconds":10,"request":"r"}"#,
];
const GATE: &[&str] = &[
    r#"{"state":"started","task":"process:1"}"#,
    r#"{"state":"finished","task":"process:1"}"#,
    r#"{"state":"sealed","why":"Cancelled","started":"process:1"}"#,
];
const REPORT: &[&str] = &[
    r#"{"started_at":"2026-11-22T10:05:12.975Z","heartbeat_at":"2026-11-22T10:05:12.975Z"}"#,
    r#"{"started_at":"2026-11-22T10:05:12.975Z","heartbeat_at":"2026-11-22T10:05:12.975Z","outcome":{"finished_at":"2026-11-22T10:05:12.975Z","failure":{"class":"NonZeroExitCode","exit_code":3,"message":"m"},"manifest":{"files":[{"path":"result.json","size":2,"sha256":"ab"}]}},"phases":{"created":"2026-11-22T10:05:12.975Z"}}"#,
];
const CLOSING: &[&str] = &[
    r#"{"write":"0123456789abcdef","closed_at":"2026-11-22T10:05:12.975Z","verdict":"succeeded","uses":"Nothing"}"#,
    r#"{"write":"0123456789abcdef","closed_at":"2026-11-22T10:05:12.975Z","verdict":{"failed":{"class":"OutOfMemory","message":"m"}},"uses":"Try","evidence":{"task":"process:1","exit_code":137,"signal":9,"stop_code":"EssentialContainerExited","stopped_reason":"r","container_reason":"c","cost":0.01,"forgotten":true,"refusal":{"kind":"Quota","message":"m"},"phases":{"stopped":"2026-11-22T10:05:12.975Z"}}}"#,
    r#"{"write":"0123456789abcdef","closed_at":"2026-11-22T10:05:12.975Z","verdict":{"left":{"why":"Retried"}},"uses":"Infrastructure"}"#,
];
const MESSAGE: &[&str] = &[
    r#"{"eventSource":"aws:dynamodb","dynamodb":{"Keys":{"job_id":{"S":"j-1"},"token":{"S":"t"}},"SizeBytes":112}}"#,
    r#"{"version":"0","detail-type":"ECS Task State Change","source":"aws.ecs","detail":{"startedBy":"j-2/0a1b2c3d","overrides":{"containerOverrides":[{"name":"worker","environment":[{"name":"X","value":"y"},{"name":"AGENT_RUNNER_JOB_ID","value":"j-1"}]}]}}}"#,
];
const RELAY_REQUEST: &[&str] = &[
    r#"{"start":["process:1",{"started_at":"2026-11-22T10:05:12.975Z","heartbeat_at":"2026-11-22T10:05:12.975Z"}]}"#,
    r#"{"heartbeat":["process:1",{"started_at":"2026-11-22T10:05:12.975Z","heartbeat_at":"2026-11-22T10:05:12.975Z","phases":{"created":0}}]}"#,
    r#"{"finish":["process:1",{"started_at":"2026-11-22T10:05:12.975Z","heartbeat_at":"2026-11-22T10:05:12.975Z","outcome":{"finished_at":"2026-11-22T10:05:12.975Z","manifest":{"files":[]}}}]}"#,
];
const RELAY_ANSWER: &[&str] = &[
    r#"{"started":"{}"}"#,
    r#"{"lost":"x"}"#,
    r#""written""#,
    r#"{"refused":null}"#,
    r#""not_found""#,
    r#"{"failed":"f"}"#,
];
const TOKENS: &[&str] = &[
    "[tokens.ci]\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nscopes = [\"read\", \"submit\"]\nexpires_at = \"2027-01-01T00:00:00Z\"\n",
    "[tokens.\"a@b\"]\nsha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nscopes = [\"operate\"]\n",
];
const DOT_ENV: &[&str] = &[
    "A=b c\nB='b # c'\nC=\"b\\tc\\n\"\nexport D=b # why\n",
    "\u{feff}AGENT_RUNNER_LISTEN=[::1]:8000\r\n# x\n\n",
];
const NAME: &[&str] = &[
    "0192d3b8-7a4f-7000-8000-000000000000",
    "0123456789abcdef0123456789abcdef",
    "0123456789abcdef",
    "arn:aws:ecs:us-east-1:111122223333:task/c/0123",
    "2026-11-22T10:05:12.975Z",
    "jobs/j/attempts/1-ab/live/stdout.log/000010485760-01700000000123",
];
/// Values of settings; the mutator puts the number of one before them.
const SETTING: &[&str] = &[
    "sqlite:data/a.db",
    "sqlite:///srv/a.db",
    "redis://me:secret@host:6379/0",
    "dynamodb:agent-runner",
    "process",
    "pool",
    "ecs:arn:aws:ecs:us-east-1:1:cluster/c",
    "file:data/artifacts",
    "s3://a-bucket/",
    "sqs:https://sqs.us-east-1.amazonaws.com/1/q",
    "127.0.0.1:8000",
    "localhost:0",
    "[::1]:80",
    "etc/there.toml",
    "true",
    "a.b, orchestrator",
    "*",
    "30",
    "power",
    "info,reconciler::pass=trace",
    "json",
    "worker:1",
    "subnet-1,subnet-2",
    "0.04048",
];

pub(crate) fn of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Created => CREATED,
        Kind::Desired | Kind::JobRequest => DESIRED,
        Kind::Control => CONTROL,
        Kind::Status => STATUS,
        Kind::Claim => CLAIM,
        Kind::Gate => GATE,
        Kind::Report => REPORT,
        Kind::Closing => CLOSING,
        Kind::JobTypes => &[JOB_TYPES],
        Kind::Setting => SETTING,
        Kind::DotEnv => DOT_ENV,
        Kind::Tokens => TOKENS,
        Kind::Message => MESSAGE,
        Kind::RelayRequest => RELAY_REQUEST,
        Kind::RelayAnswer => RELAY_ANSWER,
        Kind::Name => NAME,
        #[cfg(feature = "redis")]
        Kind::Redis => super::raw::REDIS,
        #[cfg(feature = "aws")]
        Kind::Dynamo => super::raw::DYNAMO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_but_settings_is_accepted_as_its_kind() {
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Setting) {
            for seed in of(*kind) {
                assert!(kind.decode(seed.as_bytes()), "{kind:?}: {seed}");
            }
        }
    }
}
