//! Inputs that grow, to see that the time to decode them grows no faster.

use super::Kind;

/// A family of inputs, one for each size.
#[derive(Debug)]
pub struct Family {
    /// What it is.
    pub name: &'static str,
    /// What it is decoded as.
    pub kinds: &'static [Kind],
    /// The input of about so many bytes.
    pub of_size: fn(usize) -> String,
}

const SECTIONS: &[Kind] = &[
    Kind::Created,
    Kind::Desired,
    Kind::Control,
    Kind::Status,
    Kind::Claim,
    Kind::Gate,
    Kind::Report,
    Kind::Closing,
    Kind::JobRequest,
    Kind::Message,
    Kind::RelayRequest,
    Kind::RelayAnswer,
];
const DESIRED: &[Kind] = &[Kind::Desired, Kind::JobRequest];
const TEXTS: &[Kind] = &[Kind::JobTypes, Kind::Tokens, Kind::DotEnv, Kind::Setting, Kind::Name];

fn in_desired(size: usize, before: &str, unit: &str, after: &str) -> String {
    let units = vec![unit; size / (unit.len() + 1)];
    format!("{{\"job_type\":\"echo\",{before}{}{after}}}", units.join(","))
}

fn members(size: usize, value: &str) -> String {
    let count = size / (value.len() + 11);
    let all: Vec<String> = (0..count).map(|n| format!("\"k{n:07}\":{value}")).collect();
    all.join(",")
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "arrays in arrays",
        kinds: SECTIONS,
        of_size: |n| format!("{}{}", "[".repeat(n / 2), "]".repeat(n / 2)),
    },
    Family {
        name: "objects in objects",
        kinds: SECTIONS,
        of_size: |n| format!("{}1{}", "{\"a\":".repeat(n / 6), "}".repeat(n / 6)),
    },
    Family {
        name: "a text that does not end",
        kinds: SECTIONS,
        of_size: |n| format!("{{\"job_type\":\"{}", "\\\"".repeat(n / 2)),
    },
    Family { name: "unknown members", kinds: SECTIONS, of_size: |n| format!("{{{}}}", members(n, "1")) },
    Family {
        name: "an unknown name",
        kinds: SECTIONS,
        of_size: |n| format!("{{\"{}\":1}}", "retry".repeat(n / 5)),
    },
    Family {
        name: "one member many times",
        kinds: SECTIONS,
        of_size: |n| format!("{{{}}}", vec!["\"job_type\":1"; n / 13].join(",")),
    },
    Family {
        name: "a long number",
        kinds: SECTIONS,
        of_size: |n| format!("{{\"retry\":{}}}", "9".repeat(n)),
    },
    Family {
        name: "a long time",
        kinds: SECTIONS,
        of_size: |n| format!("{{\"at\":\"{}\",\"started_at\":1}}", "2".repeat(n)),
    },
    Family {
        name: "rules without an action",
        kinds: DESIRED,
        of_size: |n| in_desired(n, "\"failure_policy\":{\"rules\":[", "{}", "]}"),
    },
    Family {
        name: "rules with unknown members",
        kinds: DESIRED,
        of_size: |n| in_desired(n, "\"failure_policy\":{\"rules\":[", "{\"action\":\"x\",\"b\":1}", "]}"),
    },
    Family {
        name: "unknown words",
        kinds: DESIRED,
        of_size: |n| {
            in_desired(
                n,
                "\"failure_policy\":{\"rules\":[{\"action\":\"Fail\",\"classes\":[",
                "\"x\"",
                "]}]}",
            )
        },
    },
    Family {
        name: "exit codes",
        kinds: DESIRED,
        of_size: |n| {
            in_desired(n, "\"failure_policy\":{\"rules\":[{\"action\":\"Fail\",\"exit_codes\":[", "1", "]}]}")
        },
    },
    Family {
        name: "bad labels",
        kinds: DESIRED,
        of_size: |n| format!("{{\"job_type\":\"e\",\"labels\":{{{}}}}}", members(n, "\"\\n\"")),
    },
    Family {
        name: "variables",
        kinds: DESIRED,
        of_size: |n| format!("{{\"job_type\":\"e\",\"env\":{{{}}}}}", members(n, "\"\"")),
    },
    Family {
        name: "bad variables",
        kinds: DESIRED,
        of_size: |n| format!("{{\"job_type\":\"e\",\"env\":{{{}}}}}", members(n, "\"\\u0000\"")),
    },
    Family {
        name: "a long payload",
        kinds: DESIRED,
        of_size: |n| format!("{{\"job_type\":\"e\",\"payload\":[{}]}}", vec!["1"; n / 2].join(",")),
    },
    Family { name: "brackets", kinds: TEXTS, of_size: |n| "[".repeat(n) },
    Family { name: "a value of brackets", kinds: TEXTS, of_size: |n| format!("a={}", "[".repeat(n)) },
    Family { name: "dots", kinds: TEXTS, of_size: |n| format!("{}=1", vec!["a"; n / 2].join(".")) },
    Family { name: "one line many times", kinds: TEXTS, of_size: |n| "A=1\n".repeat(n / 4) },
    Family {
        name: "many job types",
        kinds: TEXTS,
        of_size: |n| (0..n / 35).map(|i| format!("[job_types.a{i:07}]\ncommand=['']\n")).collect(),
    },
    Family {
        name: "many queues and who names an unknown one",
        kinds: TEXTS,
        of_size: |n| {
            let queue = |i| {
                format!(
                    "[queues.q{i:07}]\nmax_running=1\n[job_types.a{i:07}]\ncommand=['x']\ndefaults={{queue='x'}}\n"
                )
            };
            (0..n / 85).map(queue).collect()
        },
    },
    Family {
        name: "a quote that does not end",
        kinds: TEXTS,
        of_size: |n| format!("A=\"{}", "\\n".repeat(n / 2)),
    },
    Family { name: "commas", kinds: TEXTS, of_size: |n| ",".repeat(n) },
    Family { name: "at signs", kinds: TEXTS, of_size: |n| "://@".repeat(n / 4) },
    Family { name: "dashes", kinds: TEXTS, of_size: |n| "0-".repeat(n / 2) },
];
