//! The table of settings: the one place where names, defaults and meanings are listed. `.env.example` and
//! `docs/configuration.md` are rendered from it.

use super::ecs;
use std::fmt::Write;

/// One variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its default as text; empty where the default is computed.
    pub default: &'static str,
    /// The default in words, where `default` alone does not say it.
    pub default_words: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
    /// What it does.
    pub about: &'static str,
}

pub(super) const fn setting(
    name: &'static str,
    default: &'static str,
    allowed: &'static str,
    about: &'static str,
) -> Setting {
    Setting { name, default, default_words: "", allowed, about }
}

/// Every variable that people set.
pub const TABLE: &[Setting] = &{
    let mut all = [GENERAL[0]; GENERAL.len() + ecs::TABLE.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < GENERAL.len() { GENERAL[at] } else { ecs::TABLE[at - GENERAL.len()] };
        at += 1;
    }
    all
};

const GENERAL: &[Setting] = &[
    setting(
        "AGENT_RUNNER_RECORDS",
        "sqlite:data/agent-runner.db",
        "sqlite:<path>, redis://<host>:<port>/<db>, dynamodb:<table prefix>",
        "Where job and attempt records are. `agent-runner` itself has sqlite only.",
    ),
    setting(
        "AGENT_RUNNER_TASKS",
        "process",
        "process, pool, ecs:<cluster>",
        "What executes attempts: child processes of this machine, a pool of workers (with Redis), or Fargate tasks.",
    ),
    setting(
        "AGENT_RUNNER_ARTIFACTS",
        "file:data/artifacts",
        "file:<folder>, s3://<bucket>",
        "Where results, logs and files are.",
    ),
    setting(
        "AGENT_RUNNER_HINTS",
        "auto",
        "auto, sqs:<queue url>",
        "Where wake-ups come from; auto is the change feed of the record store, which DynamoDB does not have.",
    ),
    setting("AGENT_RUNNER_LISTEN", "127.0.0.1:8000", "<ip>:<port>", "Where the API listens."),
    Setting {
        default_words: "none: whoever reaches the listener may do everything",
        ..setting(
            "AGENT_RUNNER_TOKENS_FILE",
            "",
            "a file that exists",
            "The bearer tokens that the API accepts (docs/access.md). Read again when it changes.",
        )
    },
    setting(
        "AGENT_RUNNER_ALLOW_UNAUTHENTICATED",
        "false",
        "true, false",
        "Listen on other addresses than loopback without tokens.",
    ),
    Setting {
        default_words: "localhost and IP addresses only",
        ..setting(
            "AGENT_RUNNER_ALLOWED_HOSTS",
            "",
            "names separated by commas, or *",
            "Further names in the Host header that the API answers to; others could be a web page's DNS trick.",
        )
    },
    setting(
        "AGENT_RUNNER_METRICS_LISTEN",
        "127.0.0.1:9464",
        "<ip>:<port>",
        "Where a reconciler in its own process serves /metrics, /livez and /readyz. `up` serves them beside the API.",
    ),
    Setting {
        default_words: "twice the cores; with a pool, as many as it has slots",
        ..setting(
            "AGENT_RUNNER_MAX_CONCURRENT_TASKS",
            "",
            "1 to 10000",
            "How many jobs may hold an attempt at once.",
        )
    },
    Setting {
        default_words: "job-types.toml if it exists, else the built-in echo only",
        ..setting(
            "AGENT_RUNNER_JOB_TYPES",
            "job-types.toml",
            "a file that exists",
            "The file of job types and queues. Commands run in its folder.",
        )
    },
    setting(
        "AGENT_RUNNER_DURABILITY",
        "process",
        "process, power",
        "What a write survives: a killed process, or a power cut too (fsync for each write).",
    ),
    setting(
        "AGENT_RUNNER_TASKS_DIR",
        "data/tasks",
        "a folder",
        "Where running tasks keep their lock and their working directory.",
    ),
    setting(
        "AGENT_RUNNER_LOG",
        "info",
        "off, error, warn, info, debug, trace; by module: info,reconciler=debug",
        "What is logged, to stderr.",
    ),
    setting("AGENT_RUNNER_LOG_FORMAT", "text", "text, json", "The form of the log."),
    setting(
        "AGENT_RUNNER_RESYNC_SECONDS",
        "30",
        "1 to 3600",
        "Seconds between two full comparisons of records and tasks.",
    ),
    setting(
        "AGENT_RUNNER_SCAN_SECONDS",
        "600",
        "1 to 86400",
        "Seconds between two scans for edits of ended jobs that no hint announced; only DynamoDB needs it.",
    ),
    setting(
        "AGENT_RUNNER_HEARTBEAT_SECONDS",
        "10",
        "1 to 3600",
        "Worker: seconds between two signs of life, which also notice that an attempt was taken away.",
    ),
    setting(
        "AGENT_RUNNER_REPORT_PATIENCE_SECONDS",
        "600",
        "0 to 3600",
        "Worker: seconds to go on offering an outcome to a record store that does not take it.",
    ),
    setting(
        "AGENT_RUNNER_ARTIFACTS_PATIENCE_SECONDS",
        "60",
        "0 to 3600",
        "Worker: seconds to go on offering result and logs to a store that does not take them.",
    ),
    setting(
        "AGENT_RUNNER_GUARD_SECONDS",
        "30",
        "0 to 3600",
        "Worker: seconds after its timeout at which an attempt is stopped by its worker, should nobody else do it.",
    ),
    setting(
        "AGENT_RUNNER_LOG_SHIPPING_SECONDS",
        "2",
        "0 to 3600",
        "Worker: seconds between two pieces of a running agent's logs; 0: logs are stored at the end only.",
    ),
    setting(
        "AGENT_RUNNER_POOL_LEASE_SECONDS",
        "30",
        "2 to 60",
        "Worker: seconds of silence, and ten more, after which others take over what a worker of a pool ran; it ends its agents after half of them.",
    ),
    setting(
        "AGENT_RUNNER_DRAIN_SECONDS",
        "20",
        "0 to 3600",
        "Worker: seconds that attempts may go on after a worker of a pool is told to stop; then they are stopped.",
    ),
    Setting {
        default_words: "the address of AGENT_RUNNER_LISTEN",
        ..setting(
            "AGENT_RUNNER_URL",
            "http://127.0.0.1:8000",
            "http://<host>:<port>",
            "The API that the client verbs call. Unset, and with nothing answering there, `run` works without one.",
        )
    },
    Setting {
        default_words: "none",
        ..setting("AGENT_RUNNER_TOKEN", "", "a token", "The bearer token that the client verbs send.")
    },
];

/// Variables that the launch sets for a worker, or the worker for an agent. They are no settings, and
/// finding one is no mistake: an agent may call `agent-runner`.
pub const SET_BY_THE_WORKER: &[&str] = &[
    "AGENT_RUNNER_JOB_ID",
    "AGENT_RUNNER_ATTEMPT",
    "AGENT_RUNNER_PAYLOAD",
    "AGENT_RUNNER_RESULT",
    "AGENT_RUNNER_LAUNCH_TOKEN",
    "AGENT_RUNNER_TASK_ID",
    "AGENT_RUNNER_TASK_FOLDER",
    "AGENT_RUNNER_REPORTS",
];

pub(super) fn default_of(name: &str) -> &'static str {
    TABLE.iter().find(|s| s.name == name).map_or("", |s| s.default)
}

/// The table as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| variable | default | allowed | what it does |\n|---|---|---|---|\n");
    for s in TABLE {
        let default =
            if s.default_words.is_empty() { format!("`{}`", s.default) } else { s.default_words.into() };
        // Writing to a string cannot fail.
        let allowed = if s.allowed.contains('<') { format!("`{}`", s.allowed) } else { s.allowed.into() };
        let _ = writeln!(text, "| `{}` | {default} | {allowed} | {} |", s.name, s.about);
    }
    text
}

/// A `.env` file with every variable commented out at its default.
#[must_use]
pub fn dot_env_example() -> String {
    let mut text = String::from(
        "# Copy to .env and remove the '#' of what you change. Flags win over the environment, the environment\n\
         # over .env, .env over the defaults shown here. Values are taken as they stand: no $VARIABLES.\n",
    );
    for s in TABLE {
        let words = if s.default_words.is_empty() {
            String::new()
        } else {
            format!("\n# Default: {}.", s.default_words)
        };
        let _ =
            writeln!(text, "\n# {}\n# Allowed: {}.{words}\n#{}={}", s.about, s.allowed, s.name, s.default);
    }
    text
}
