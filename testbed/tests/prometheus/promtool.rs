//! promtool: the rules, their unit tests, the configuration, and what the listeners say.

use crate::{compose, server};
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn promtool(arguments: &[&str]) -> Output {
    let folder = compose().join("prometheus");
    Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool can be started")
}

fn accepted(arguments: &[&str]) -> String {
    let output = promtool(arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = said(&output.stdout) + &said(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {text}");
    text
}

#[test]
fn promtool_accepts_configuration_and_rules_and_each_alert_fires_when_it_should_and_only_then() {
    if !server::installed() {
        return;
    }
    assert!(accepted(&["check", "rules", "alerts.yml"]).contains("14 rules found"));
    accepted(&["check", "config", "prometheus.yml"]);
    accepted(&["test", "rules", "alerts_test.yml"]);
    let rules = std::fs::read_to_string(compose().join("prometheus/alerts.yml")).expect("the rules");
    let cases = std::fs::read_to_string(compose().join("prometheus/alerts_test.yml")).expect("the cases");
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        for verb in ["fires", "is silent"] {
            assert!(cases.contains(&format!("{name} {verb}: ")), "no case in which {name} {verb}");
        }
    }
}

/// What a listener says is clean: names, units, types and help.
pub(crate) fn check_metrics(text: &str) {
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = check.spawn().expect("promtool can be started");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool check metrics: {said}");
}
