//! Event patterns, as EventBridge and Pipes match them (EventBridge user guide, "Event patterns" and "Comparison
//! operators"): the operators that our filters use or could use. Any other is refused when a pattern is read,
//! so that a filter is never taken for one that lets everything pass.

use serde_json::{Map, Value};

/// A checked pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Map<String, Value>);

const OPERATORS: [&str; 5] = ["exists", "prefix", "suffix", "anything-but", "equals-ignore-case"];

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is not understood.
    pub fn new(pattern: &Value) -> Result<Self, String> {
        check(pattern)?;
        match pattern {
            Value::Object(fields) => Ok(Self(fields.clone())),
            other => Err(format!("{other} is no pattern")),
        }
    }

    /// Reads a file with a list of patterns.
    ///
    /// # Errors
    /// What is not understood.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let patterns: Vec<Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        patterns.iter().map(Self::new).collect()
    }

    /// Whether `event` is let through.
    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        object(&self.0, Some(event))
    }
}

fn check(pattern: &Value) -> Result<(), String> {
    match pattern {
        Value::Object(fields) => fields.iter().try_for_each(|(name, below)| match (name.as_str(), below) {
            ("$or", Value::Array(ways)) => ways.iter().try_for_each(check),
            (_, Value::Object(_)) => check(below),
            (_, Value::Array(leaves)) if !leaves.is_empty() => leaves.iter().try_for_each(check_leaf),
            _ => Err(format!("{name:?} needs a list or an object, not {below}")),
        }),
        other => Err(format!("{other} is no pattern")),
    }
}

fn check_leaf(leaf: &Value) -> Result<(), String> {
    match leaf {
        Value::Object(operator) if operator.len() == 1 => {
            let known = operator.keys().all(|name| OPERATORS.contains(&name.as_str()));
            if known { Ok(()) } else { Err(format!("{leaf} is not understood")) }
        }
        Value::Object(_) | Value::Array(_) => Err(format!("{leaf} is not understood")),
        _ => Ok(()),
    }
}

/// Every field of the pattern matches; other fields of the event do not matter.
fn object(fields: &Map<String, Value>, event: Option<&Value>) -> bool {
    fields.iter().all(|(name, below)| match (name.as_str(), below) {
        ("$or", Value::Array(ways)) => {
            ways.iter().any(|way| way.as_object().is_some_and(|way| object(way, event)))
        }
        (_, Value::Object(below)) => match event.and_then(|event| event.get(name)) {
            Some(Value::Array(all)) if !all.is_empty() => all.iter().any(|one| object(below, Some(one))),
            found => object(below, found),
        },
        (_, Value::Array(leaves)) => {
            let found = event.and_then(|event| event.get(name));
            leaves.iter().any(|leaf| match found {
                Some(Value::Array(values)) if !values.is_empty() => {
                    values.iter().any(|v| value(leaf, Some(v)))
                }
                found => value(leaf, found),
            })
        }
        _ => false,
    })
}

/// One alternative of a list.
fn value(leaf: &Value, found: Option<&Value>) -> bool {
    let Some((operator, operand)) = leaf.as_object().and_then(|o| o.iter().next()) else {
        return found == Some(leaf);
    };
    let text = found.and_then(Value::as_str);
    let operand_text = operand.as_str().unwrap_or_default();
    match operator.as_str() {
        // Leaves only: an object exists for no pattern.
        "exists" => found.is_some_and(|found| !found.is_object()) == (operand == &Value::Bool(true)),
        "prefix" => text.is_some_and(|text| text.starts_with(operand_text)),
        "suffix" => text.is_some_and(|text| text.ends_with(operand_text)),
        "equals-ignore-case" => text.is_some_and(|text| text.eq_ignore_ascii_case(operand_text)),
        "anything-but" => found.is_some_and(|found| match operand {
            Value::Array(all) => !all.contains(found),
            Value::Object(_) => !value(operand, Some(found)),
            one => one != found,
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_match_as_the_user_guide_says() {
        let event = json!({"a": "x", "n": 3, "list": ["p", "q"], "in": {"b": {"c": "deep"}, "nil": null},
            "all": [{"n": 1}, {"n": 2}]});
        for (pattern, wanted) in [
            (json!({"a": ["x"]}), true),
            (json!({"a": ["y", "x"]}), true),
            (json!({"a": ["y"]}), false),
            (json!({"a": ["x"], "n": [3]}), true),
            (json!({"a": ["x"], "n": [4]}), false),
            (json!({"list": ["q"]}), true),
            (json!({"list": ["r"]}), false),
            (json!({"in": {"b": {"c": ["deep"]}}}), true),
            (json!({"in": {"nil": [null]}}), true),
            (json!({"none": [null]}), false),
            (json!({"none": [{"exists": false}]}), true),
            (json!({"none": {"below": [{"exists": false}]}}), true),
            (json!({"a": [{"exists": true}]}), true),
            (json!({"a": [{"exists": false}]}), false),
            (json!({"in": [{"exists": true}]}), false),
            (json!({"a": [{"anything-but": "x"}]}), false),
            (json!({"a": [{"anything-but": ["y", "z"]}]}), true),
            (json!({"a": [{"anything-but": {"prefix": "x"}}]}), false),
            (json!({"none": [{"anything-but": "x"}]}), false),
            (json!({"in": {"b": {"c": [{"prefix": "de"}]}}}), true),
            (json!({"in": {"b": {"c": [{"suffix": "de"}]}}}), false),
            (json!({"a": [{"equals-ignore-case": "X"}]}), true),
            (json!({"$or": [{"a": ["y"]}, {"n": [3]}]}), true),
            (json!({"a": ["x"], "$or": [{"n": [4]}, {"n": [5]}]}), false),
            (json!({"all": {"n": [2]}}), true),
            (json!({"all": {"n": [3]}}), false),
            (json!({"all": {"n": [{"anything-but": [1]}]}}), true),
            (json!({"all": {"m": [{"anything-but": [1]}]}}), false),
        ] {
            assert_eq!(Pattern::new(&pattern).unwrap().matches(&event), wanted, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pattern in [
            json!([]),
            json!({"a": "x"}),
            json!({"a": []}),
            json!({"a": [["x"]]}),
            json!({"a": [{"wildcard": "*"}]}),
            json!({"a": [{"numeric": [">", 3]}]}),
            json!({"a": [{"prefix": "x", "suffix": "y"}]}),
        ] {
            assert!(Pattern::new(&pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_filters_of_the_infrastructure_let_pass_what_the_reconciler_must_see() {
        let read = |text| Pattern::list(text).unwrap();
        let jobs = read(include_str!("../../../infra/terraform/filters/jobs.json"));
        let attempts = read(include_str!("../../../infra/terraform/filters/attempts.json"));
        let passes = |patterns: &[Pattern], event: &Value| patterns.iter().any(|p| p.matches(event));
        let active = json!({"active_shard": {"S": "a1"}, "job_id": {"S": "j"}});
        let settled = json!({"job_id": {"S": "j"}});
        for (name, new, old, wanted) in [
            ("INSERT", Some(&active), None, true),
            // An edit by the API, which sets the mark.
            ("MODIFY", Some(&active), Some(&settled), true),
            ("MODIFY", Some(&active), Some(&active), true),
            // An edit of a finished job by hand.
            ("MODIFY", Some(&settled), Some(&settled), true),
            // The reconciler has settled it.
            ("MODIFY", Some(&settled), Some(&active), false),
        ] {
            let event = json!({"eventName": name, "dynamodb": {"NewImage": new, "OldImage": old}});
            assert_eq!(passes(&jobs, &event), wanted, "{event}");
        }
        let gate = |state: &str| json!({"gate": {"M": {"state": {"S": state}}}});
        for (old, new, wanted) in
            [("started", "finished", true), ("finished", "finished", false), ("started", "started", false)]
        {
            let images = json!({"OldImage": gate(old), "NewImage": gate(new)});
            let event = json!({"eventName": "MODIFY", "dynamodb": images});
            assert_eq!(passes(&attempts, &event), wanted, "{event}");
        }
    }

    #[test]
    fn events_of_a_worker_that_has_done_its_work_are_kept_back() {
        let text = include_str!("../../../infra/terraform/filters/tasks.json");
        let tasks = Pattern::new(&serde_json::from_str(text).unwrap()).unwrap();
        for (last, desired, stop_code, exit_code, wanted) in [
            ("PENDING", "RUNNING", None, None, false),
            ("RUNNING", "RUNNING", None, None, true),
            // The warning of Spot.
            ("RUNNING", "STOPPED", Some("SpotInterruption"), None, true),
            ("STOPPED", "STOPPED", Some("SpotInterruption"), Some(0), true),
            ("STOPPED", "STOPPED", Some("UserInitiated"), Some(0), true),
            // No image: there is no exit code.
            ("DEPROVISIONING", "STOPPED", Some("TaskFailedToStart"), None, true),
            ("DEPROVISIONING", "STOPPED", Some("EssentialContainerExited"), Some(137), true),
            ("STOPPED", "STOPPED", Some("EssentialContainerExited"), Some(1), true),
            ("DEACTIVATING", "STOPPED", Some("EssentialContainerExited"), Some(0), false),
            ("STOPPED", "STOPPED", Some("EssentialContainerExited"), Some(0), false),
        ] {
            let mut detail = json!({"group": "family:agent-runner-worker", "startedBy": "j/0a1b2c3d",
                "lastStatus": last, "desiredStatus": desired, "containers": [{"name": "worker"}]});
            if let Some(code) = stop_code {
                detail["stopCode"] = json!(code);
            }
            if let Some(code) = exit_code {
                detail["containers"][0]["exitCode"] = json!(code);
            }
            let event =
                json!({"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail});
            assert_eq!(tasks.matches(&event), wanted, "{event}");
        }
    }
}
