//! What `desired` and the job-types file may hold: the last value that is allowed, and the first that is not.

use contract::desired::{Desired, ENV_LIMIT, PAYLOAD_LIMIT};
use contract::{JobTypes, Supports};

fn with(members: &str) -> Result<Desired, String> {
    let text = format!("{{\"job_type\":\"echo\",{members}}}");
    Desired::parse(&text).map_err(|invalid| invalid.to_string())
}

fn allowed(members: &str) {
    let found = with(members);
    assert!(found.is_ok(), "{:.200}: {:?}", members, found.err());
}

fn refused(members: &str, pointer: &str) {
    let said = with(members).expect_err(&format!("{members:.200} was accepted"));
    assert!(said.contains(pointer), "{pointer}: {said}");
}

#[test]
fn a_payload_ends_at_its_limit() {
    let of = |bytes: usize| format!("\"payload\":\"{}\"", "x".repeat(bytes - 2));
    allowed(&of(PAYLOAD_LIMIT));
    refused(&of(PAYLOAD_LIMIT + 1), "/payload");
}

#[test]
fn names_of_queues_have_64_of_a_few_characters() {
    for name in ["a", "A-z_0.9", &"q".repeat(64)] {
        allowed(&format!("\"queue\":\"{name}\""));
    }
    for name in ["", ".a", "a b", "a/b", "a:b", "ä", &"q".repeat(65)] {
        refused(&format!("\"queue\":\"{name}\""), "/queue");
    }
}

#[test]
fn variables_have_names_of_128_and_values_without_nul_and_a_size_together() {
    for name in ["A", "_", "a1_B", &"A".repeat(128)] {
        allowed(&format!("\"env\":{{\"{name}\":\"x y\"}}"));
    }
    for name in ["", "1A", "A-B", "A B", "ä", "AGENT_RUNNER_X", &"A".repeat(129)] {
        refused(&format!("\"env\":{{\"{name}\":\"\"}}"), "/env");
    }
    refused("\"env\":{\"A\":\"\\u0000\"}", "/env/A");
    let of = |bytes: usize| format!("\"env\":{{\"ABC\":\"{}\"}}", "x".repeat(bytes - 3));
    allowed(&of(ENV_LIMIT));
    refused(&of(ENV_LIMIT + 1), "/env");
}

#[test]
fn labels_have_63_characters_of_name_and_256_bytes_of_value() {
    for name in ["a", "team/x", "A-b_c.9", &"l".repeat(63)] {
        allowed(&format!("\"labels\":{{\"{name}\":\"\"}}"));
    }
    for name in ["", "a b", "ä", &"l".repeat(64)] {
        refused(&format!("\"labels\":{{\"{name}\":\"\"}}"), "/labels");
    }
    allowed(&format!("\"labels\":{{\"a\":\"{}\"}}", "v".repeat(256)));
    refused(&format!("\"labels\":{{\"a\":\"{}\"}}", "v".repeat(257)), "/labels/a");
    refused("\"labels\":{\"a\":\"\\n\"}", "/labels/a");
}

#[test]
fn lists_and_objects_have_as_many_entries_as_they_may() {
    let labels = |n: usize| (0..n).map(|i| format!("\"l{i}\":\"\"")).collect::<Vec<_>>().join(",");
    allowed(&format!("\"labels\":{{{}}}", labels(32)));
    refused(&format!("\"labels\":{{{}}}", labels(33)), "/labels: 33 entries; at most 32");
    let rules = |n: usize| vec!["{\"action\":\"Fail\"}"; n].join(",");
    allowed(&format!("\"failure_policy\":{{\"rules\":[{}]}}", rules(20)));
    refused(&format!("\"failure_policy\":{{\"rules\":[{}]}}", rules(21)), "21 entries; at most 20");
}

#[test]
fn each_size_of_fargate_has_its_own_memory() {
    for (cpu, least, most, step) in [
        (512, 1024, 4096, 1024),
        (1024, 2048, 8192, 1024),
        (2048, 4096, 16_384, 1024),
        (4096, 8192, 30_720, 1024),
        (8192, 16_384, 61_440, 4096),
        (16_384, 32_768, 122_880, 8192),
    ] {
        let of = |memory: u32| format!("\"resources\":{{\"cpu\":{cpu},\"memory_mib\":{memory}}}");
        for memory in [least, least + step, most] {
            allowed(&of(memory));
        }
        for memory in [least - 1, least + 1, least + step / 2, most - 1, least - step / 2] {
            refused(&of(memory), "memory_mib");
        }
        if most < 122_880 {
            refused(&of(most + step), "memory_mib");
        }
    }
    for memory in [512, 1024, 2048] {
        allowed(&format!("\"resources\":{{\"cpu\":256,\"memory_mib\":{memory}}}"));
    }
    refused("\"resources\":{\"cpu\":256,\"memory_mib\":1536}", "with cpu 256: 512, 1024 or 2048");
    refused("\"resources\":{\"cpu\":256}", "/resources/memory_mib: is missing");
    let twice = with("\"resources\":{\"cpu\":1,\"memory_mib\":512}").expect_err("a cpu of 1");
    assert!(!twice.contains("missing"), "a bad value is there: {twice}");
}

#[test]
fn a_job_type_limits_what_its_file_says_and_nothing_below() {
    let supports = Supports { spot: true, cost: true };
    for (field, most, wrap) in [
        ("max_attempts", 2_u32, false),
        ("attempt_timeout_seconds", 60, false),
        ("start_timeout_seconds", 60, false),
        ("active_deadline_seconds", 60, false),
        ("ttl_seconds_after_finished", 60, false),
        ("priority", 5, false),
        ("cpu", 1024, true),
        ("memory_mib", 2048, true),
    ] {
        let file = format!("[job_types.a]\ncommand = [\"x\"]\nlimits = {{ {field} = {most} }}\n");
        let types = JobTypes::parse(&file).expect("a good file");
        let asked = |value: u32| {
            let mut d = Desired::parse("{\"job_type\":\"a\"}").expect("good");
            let (cpu, memory) = if field == "cpu" { (value, 4096) } else { (1024, value) };
            if wrap {
                let text =
                    format!("{{\"job_type\":\"a\",\"resources\":{{\"cpu\":{cpu},\"memory_mib\":{memory}}}}}");
                d = Desired::parse(&text).expect("good");
            } else if let Ok(found) = Desired::parse(&format!("{{\"job_type\":\"a\",\"{field}\":{value}}}")) {
                d = found;
            }
            types.check(&d, supports)
        };
        assert!(asked(most).is_ok(), "{field} {most}: {:?}", asked(most));
        let above = if wrap { most * 2 } else { most + 1 };
        let said = asked(above).expect_err(field).to_string();
        assert!(said.contains(&format!("/{field}: {above} is not allowed")), "{said}");
    }
}

#[test]
fn a_job_types_file_is_checked_to_the_last_second_and_names_only_definitions_with_a_revision() {
    let file = |line: &str| JobTypes::parse(&format!("[job_types.a]\ncommand = [\"x\"]\n{line}\n"));
    assert!(file("stop_grace_seconds = 0").is_ok());
    let most = contract::job_type::LONGEST_STOP_GRACE_SECONDS;
    assert!(file(&format!("stop_grace_seconds = {most}")).is_ok());
    assert!(file(&format!("stop_grace_seconds = {}", most + 1)).is_err());
    assert!(file("task_definition = \"worker:1\"").is_ok());
    assert!(file("task_definition = \"worker\"").is_err());
    assert!(file("limits = { cpu = 1 }").is_ok());
    assert!(file("defaults = { queue = \"q\" }\n[queues.q]\nmax_running = 1").is_ok());
    assert!(file("defaults = { queue = \"p\" }\n[queues.q]\nmax_running = 1").is_err());
    let said = file("limits = { cpus = 1 }").expect_err("an unknown limit").to_string();
    assert!(said.contains("did you mean \"cpu\""), "{said}");
}
