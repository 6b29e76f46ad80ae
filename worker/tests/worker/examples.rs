//! The example agents, as the job-types file in the root of the repository names them.

use crate::support::{World, command};
use contract::{FailureClass, JobTypes, JsonText, PayloadRef, Program};
use std::path::Path;

/// A world in which `name` is executed with `payload`, beside the example agents.
fn example(name: &str, payload: &str) -> World {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("job-types.toml")).unwrap();
    let types = JobTypes::parse(&text).unwrap();
    let Program::Command { argv, .. } = &types.types[name].program else { panic!("{name} is a command") };
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut claim = command(&argv);
    claim.payload = PayloadRef::Inline(JsonText::new(payload).unwrap());
    let world = World::new(&claim);
    std::os::unix::fs::symlink(root.join("agents"), world.folder.path().join("agents")).unwrap();
    world
}

#[test]
fn the_python_example_summarizes_a_text() {
    let w = example("summarize", r#"{"text":" It's a test.\nIs it? A test it is… ÄÖ","top":1}"#);
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None, "{:?}", w.stored("stderr.log"));
    let result: serde_json::Value = serde_json::from_str(&w.stored("result.json").unwrap()).unwrap();
    let wanted = serde_json::json!({
        "first_sentence": "It's a test.", "characters": 37, "words": 10, "different_words": 6,
        "most_frequent": {"a": 2},
    });
    assert_eq!(result, wanted);
    assert!(w.stored("artifacts/words.csv").unwrap().starts_with("word,count"));
    assert!(w.stored("stdout.log").unwrap().contains("10 words"));
    let (class, code, _) = example("summarize", "[]").run_to_failure();
    assert_eq!((class, code), (FailureClass::NonZeroExitCode, Some(2)));
}

#[test]
fn the_shell_example_takes_the_checksum_of_its_payload() {
    let w = example("checksum", r#"{"a": 1.0}"#);
    w.run();
    assert_eq!(w.outcome().unwrap().failure, None, "{:?}", w.stored("stderr.log"));
    let sum = "742609b207f0900a8e2dff3ae83ac47941af5c29bb6ebfb297f4ca7dd63d8354";
    let result = w.stored("result.json").unwrap();
    assert!(result.contains(sum) && result.contains("\"bytes\": 10"), "{result}");
    assert_eq!(w.manifest()[3], "artifacts/payload.sha256");
}

#[test]
fn the_commented_example_in_the_job_types_file_is_valid_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("job-types.toml")).unwrap();
    let start = text.find("# [job_types.research]").unwrap();
    let uncommented = text[start..].lines().map(|line| line.trim_start_matches("# ").trim_start_matches('#'));
    let all = format!("{}\n{}", &text[..start], uncommented.collect::<Vec<_>>().join("\n"));
    let types = JobTypes::parse(&all).unwrap();
    assert_eq!(types.queues["llm"], 4);
    assert_eq!(types.types.len(), 4, "echo and three of the file");
}
