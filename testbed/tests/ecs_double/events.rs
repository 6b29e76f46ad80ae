//! "ECS Task State Change" events.

use crate::rig::{Rig, quiet, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::ecs::{Options, Phases, Post, Sink};

type Seen = Arc<Mutex<Vec<Value>>>;

fn rig(post: Post) -> (Rig, Seen) {
    let seen = Seen::default();
    let into = Arc::clone(&seen);
    let sink = Sink::Call(Arc::new(move |event| into.lock().expect("a lock").push(event.clone())));
    (Rig::start(Options { sinks: vec![sink], post, phases: Phases::default(), ..quiet() }), seen)
}

/// Runs `n` tasks to their end and returns what came of their events.
fn events(rig: &Rig, seen: &Seen, n: usize) -> Vec<Value> {
    for at in 0..n {
        rig.launched(&run(&format!("t{at}")));
    }
    rig.advance(600.0);
    rig.until("the events", |rig| {
        let counts = rig.double.state()["events"].clone();
        let count = |name: &str| counts[name].as_u64().expect("a number");
        (count("delivered") == count("made") - count("lost") + count("doubled")).then_some(())
    });
    seen.lock().expect("a lock").clone()
}

#[test]
fn every_change_is_an_event_in_the_shape_of_eventbridge() {
    let (rig, seen) = rig(Post::default());
    let arn = rig.launched(&run("t"));
    let all = events(&rig, &seen, 0);
    let statuses: Vec<&str> =
        all.iter().map(|event| event["detail"]["lastStatus"].as_str().unwrap()).collect();
    let expected = [
        "PROVISIONING",
        "PENDING",
        "ACTIVATING",
        "RUNNING",
        "DEACTIVATING",
        "STOPPING",
        "DEPROVISIONING",
        "STOPPED",
    ];
    assert_eq!(statuses, expected);
    let versions: Vec<u64> = all.iter().map(|event| event["detail"]["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (1..=8).collect::<Vec<u64>>());
    let last = &all[7];
    assert_eq!((&last["source"], &last["detail-type"]), (&json!("aws.ecs"), &json!("ECS Task State Change")));
    assert_eq!(last["resources"], json!([arn]));
    let detail = &last["detail"];
    assert_eq!((&detail["taskArn"], &detail["startedBy"]), (&json!(arn), &json!("t/1")));
    for name in ["createdAt", "startedAt", "stoppedAt", "updatedAt"] {
        assert!(detail[name].as_str().is_some_and(|time| time.ends_with('Z')), "{name}: {detail:#}");
    }
    assert_eq!(detail["version"], rig.task(&arn)["version"], "the API and the event show one version");
}

#[test]
fn the_warning_of_spot_is_an_event_of_a_running_task() {
    let (rig, seen) = rig(Post::default());
    let arn = rig.launched(&run("t"));
    rig.advance(30.0);
    rig.fault(json!({"fault": "SpotInterrupt", "task": arn}));
    let all = events(&rig, &seen, 0);
    let warned = all.iter().find(|event| event["detail"]["desiredStatus"] == "STOPPED").expect("a warning");
    assert_eq!(warned["detail"]["lastStatus"], "RUNNING");
    assert_eq!(warned["detail"]["stopCode"], "SpotInterruption");
}

#[test]
fn events_are_lost_doubled_and_out_of_order_when_told_so() {
    let post = Post { duplicate_one_in: 3, lose_one_in: 5, delay_up_to: Duration::from_secs(60) };
    let (rig, seen) = rig(post);
    let all = events(&rig, &seen, 30);
    let ids: BTreeSet<&str> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids.len() < 30 * 8, "none was lost");
    assert!(ids.len() < all.len(), "none was doubled");
    for id in &ids {
        let same: BTreeSet<String> =
            all.iter().filter(|event| event["id"] == *id).map(|event| event["detail"].to_string()).collect();
        assert_eq!(same.len(), 1, "a duplicate is the same event");
    }
    let of_one = |arn: &Value| -> Vec<u64> {
        let its = all.iter().filter(|event| event["detail"]["taskArn"] == *arn);
        its.map(|event| event["detail"]["version"].as_u64().unwrap()).collect()
    };
    let disordered = all.iter().any(|event| !of_one(&event["detail"]["taskArn"]).is_sorted());
    assert!(disordered, "no event has overtaken another one");
}

#[test]
fn events_reach_a_queue_as_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let queue_url = format!("{endpoint}/111122223333/hints");
    let server = std::thread::spawn(move || request(&listener));
    let sinks = vec![Sink::Sqs { endpoint, queue_url: queue_url.clone() }];
    let rig = Rig::start(Options { sinks, ..quiet() });
    rig.launched(&run("t"));
    let (head, body) = server.join().expect("a request");
    assert!(head.contains("x-amz-target: amazonsqs.sendmessage"), "{head}");
    assert!(head.contains("content-type: application/x-amz-json-1.0"), "{head}");
    assert_eq!(body["QueueUrl"], queue_url);
    let event: Value = serde_json::from_str(body["MessageBody"].as_str().expect("a text")).expect("JSON");
    assert_eq!(event["detail"]["lastStatus"], "PROVISIONING");
}

/// The first request: its head in small letters, and its body.
fn request(listener: &TcpListener) -> (String, Value) {
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).expect("a line");
    }
    let head = head.to_lowercase();
    let size = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a size");
    let mut body = vec![0; size.parse().expect("a number")];
    reader.read_exact(&mut body).expect("a body");
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    reader.get_mut().write_all(answer.as_bytes()).expect("an answer");
    (head, serde_json::from_slice(&body).expect("JSON"))
}
