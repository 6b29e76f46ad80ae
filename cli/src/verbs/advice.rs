//! What a person can type next, by the state of a job.

use crate::follow::View;

/// Commands with what each is for; empty when there is nothing to do but wait.
pub(super) fn next_steps(view: &View) -> Vec<(String, &'static str)> {
    let id = &view.job_id;
    let to = |verb: &str| format!("agent-runner {verb} {id}");
    let set = |field: &str| format!("agent-runner set {id} {field}");
    let reason = view.reason.as_deref().unwrap_or_default();
    match (view.status.as_str(), reason) {
        ("SUCCEEDED", _) => vec![(to("get -o json"), "the result"), (to("logs"), "what the agent wrote")],
        ("RUNNING", _) => vec![(to("logs -f"), "what the agent writes"), (to("cancel"), "ends it")],
        (_, "InvalidRecord") => vec![(to("edit"), "repairs the fields that cannot be decoded")],
        (_, "Suspended") => vec![(to("resume"), "lets it go on")],
        ("QUEUED", "Misconfigured") => vec![
            (to("explain"), "names what the configuration lacks"),
            (to("edit"), "asks for something that it has"),
        ],
        ("QUEUED", "WaitingForQuota") => {
            vec![(set("priority=10"), "goes ahead of others that wait"), (to("cancel"), "gives its place up")]
        }
        ("QUEUED", "BackingOff") => {
            vec![(to("logs"), "why the last try failed"), (to("retry --force"), "tries again at once")]
        }
        ("QUEUED", "InsufficientCapacity") => {
            vec![(set("capacity=on_demand"), "does not wait for spot capacity")]
        }
        ("QUEUED", _) => vec![(to("wait"), "until it has ended")],
        ("FAILED", "DeadlineExceeded") => vec![
            (set("active_deadline_seconds=172800"), "gives it more time"),
            (to("retry"), "starts it again"),
        ],
        ("FAILED", "CostLimitExceeded") => vec![
            (set("max_cost_usd=null"), "lifts the limit of what it may cost"),
            (to("retry"), "starts it again"),
        ],
        ("FAILED", "AttemptTimeout") => vec![
            (set("attempt_timeout_seconds=7200"), "gives each attempt more time"),
            (to("retry"), "starts it again"),
        ],
        ("FAILED", "OutOfMemory") => {
            vec![(
                to("resubmit --set resources.cpu=1024 --set resources.memory_mib=8192"),
                "with more memory",
            )]
        }
        ("FAILED", "Cancelled") => vec![(to("retry"), "starts it again")],
        ("FAILED", _) => {
            vec![(to("logs --stream stderr"), "what the agent said last"), (to("retry"), "starts it again")]
        }
        _ => Vec::new(),
    }
}

/// The steps as lines, each indented by two.
pub(super) fn lines(view: &View) -> String {
    let steps = next_steps(view);
    steps.iter().map(|(command, what)| format!("  {command}\n      {what}\n")).collect()
}
