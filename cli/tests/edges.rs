//! The edges between crates that must not exist. The API *cannot* launch and the worker *cannot* decide,
//! because what they would need is not in their dependency graph.
//!
//! `cargo tree` is asked rather than `cargo metadata`: it resolves features for each package alone, while
//! `metadata` unifies them over the workspace, and then one server's cloud client would appear to be in
//! every executable.

use std::process::Command;

/// A crate, the features it is looked at with, and what it must not reach; a trailing `*` matches any end.
struct Rule {
    package: &'static str,
    features: &'static [&'static str],
    never: &'static [&'static str],
}

const ALL: &[&str] = &["--all-features"];

const RULES: &[Rule] = &[
    Rule {
        package: "agent-runner-contract",
        features: ALL,
        // No runtime, no logging, no cloud, no clock and no source of randomness.
        never: &["tokio", "tracing", "aws-*", "chrono", "time", "rand", "rand_core", "getrandom", "fastrand"],
    },
    Rule {
        package: "agent-runner-plan",
        features: ALL,
        never: &["tokio", "tracing", "aws-*", "rusqlite", "agent-runner-backends", "getrandom", "axum"],
    },
    Rule {
        package: "agent-runner-backends",
        features: ALL,
        never: &["agent-runner-plan", "axum", "aws-sdk-ecs", "agent-runner-api", "agent-runner-reconciler"],
    },
    Rule {
        package: "agent-runner-reconciler",
        features: ALL,
        never: &["agent-runner-api", "agent-runner-worker", "agent-runner"],
    },
    Rule {
        package: "agent-runner-api",
        features: ALL,
        never: &["aws-sdk-ecs", "agent-runner-reconciler", "agent-runner-worker", "agent-runner"],
    },
    Rule {
        package: "agent-runner-worker",
        features: ALL,
        never: &["agent-runner-plan", "axum", "aws-sdk-ecs", "agent-runner-reconciler", "agent-runner-api"],
    },
    // The worker that is started for each attempt on one machine has no runtime to build first.
    Rule {
        package: "agent-runner-worker",
        features: &["--no-default-features", "--features", "sqlite"],
        never: &["tokio", "aws-*", "redis"],
    },
    // The quick start compiles no cloud client, no Redis client and nothing that is never shipped.
    Rule {
        package: "agent-runner",
        features: &[],
        never: &["aws-*", "redis", "openssl*", "native-tls", "agent-runner-testbed"],
    },
];

/// The packages that `package` reaches over normal dependencies, each with the path to it.
fn reach(package: &str, features: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "depth",
            "--package",
            package,
        ])
        .args(features)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let mut stack: Vec<String> = Vec::new();
    let mut paths = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let depth: usize = line[..digits].parse().expect("a line starts with its depth");
        let name = line[digits..].split(' ').next().unwrap_or_default();
        stack.truncate(depth);
        stack.push(name.to_owned());
        paths.push(stack.clone());
    }
    paths
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[test]
fn no_crate_reaches_what_it_must_not() {
    let mut broken = Vec::new();
    for rule in RULES {
        let paths = reach(rule.package, rule.features);
        assert!(paths.len() > 1, "{} reaches nothing, so this check sees nothing", rule.package);
        for path in &paths[1..] {
            if path.last().is_some_and(|name| rule.never.iter().any(|p| matches(p, name))) {
                broken.push(path.join(" -> "));
            }
        }
    }
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "forbidden edges:\n{}", broken.join("\n"));
}

#[test]
fn the_decision_core_uses_the_contract_and_nothing_else() {
    let direct: Vec<String> = reach("agent-runner-plan", &[])
        .into_iter()
        .filter(|path| path.len() == 2)
        .map(|path| path[1].clone())
        .collect();
    assert_eq!(direct, ["agent-runner-contract"]);
}
