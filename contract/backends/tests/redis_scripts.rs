//! The scripts for operators (`runbooks/redis`), as an operator calls them.

#![cfg(all(feature = "conformance", feature = "redis"))]

mod redis_support;

use backends::conformance::fixtures as fx;
use backends::{NewJob, RecordsBackend, RedisRecords, WriteAnswer};
use contract::{Desired, Job, JsonText};
use redis_support::{RedisServer, block_on};
use std::path::PathBuf;
use std::sync::Arc;

const SCRIPTS: [&str; 4] = ["retry", "cancel", "suspend", "resume"];

fn path(script: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../runbooks/redis/{script}.lua"))
}

struct Store {
    server: RedisServer,
    records: Arc<RedisRecords>,
    job: NewJob,
}

/// A store with one job, whose payload holds everything that a careless script breaks or falls for.
fn store() -> Option<Store> {
    let server = RedisServer::start()?;
    let records = RedisRecords::lazy(&server.url()).unwrap();
    let mut desired = Desired::new("echo");
    let payload = r#"{"retry":7,"a":[],"big":12345678901234567890,"f":1.50,"s":"\"cancel\":false,}{\\","n":{"suspend":true}}"#;
    desired.payload = JsonText::new(payload).unwrap();
    let job = fx::new_job_of(desired);
    block_on(records.create(&job)).unwrap();
    Some(Store { server, records, job })
}

impl Store {
    fn call(&self, script: &str, arguments: &[&str]) -> String {
        let path = path(script).display().to_string();
        let mut all = vec!["--eval", &path, ","];
        all.extend(arguments);
        self.server.cli(&all)
    }

    fn id(&self) -> &str {
        self.job.job_id.as_str()
    }

    fn stored(&self) -> Job {
        block_on(self.records.job(&self.job.job_id)).unwrap().unwrap()
    }

    /// What is stored, once the script has done what it says.
    fn after(&self, script: &str, arguments: &[&str]) -> Desired {
        let said = self.call(script, arguments);
        assert!(said.starts_with("desired: {"), "{script}: {said}");
        self.stored().desired().unwrap()
    }

    fn end(&self) {
        let done = fx::finished(1, &backends::clock::fresh_token(), fx::at(9));
        let (job, id) = (self.stored(), &self.job.job_id);
        let written = block_on(
            self.records.write_control(id, fx::write(job.control.as_ref(), &job.desired, &done, true)),
        );
        assert_eq!(written, Ok(WriteAnswer::Written));
        assert!(!self.stored().active);
    }
}

#[test]
fn a_retry_counts_up_clears_cancel_marks_the_job_and_touches_nothing_else() {
    let Some(store) = store() else { return };
    let mut wanted = store.job.desired.clone();
    wanted.cancel = true;
    assert_eq!(store.after("cancel", &[store.id()]), wanted);
    store.end();
    (wanted.cancel, wanted.retry) = (false, 1);
    assert_eq!(store.after("retry", &[store.id()]), wanted);
    assert!(store.stored().active);
    assert_eq!(store.stored().desired.text(), wanted.to_text(), "byte for byte");
    wanted.retry = 2;
    assert_eq!(store.after("retry", &[store.id()]), wanted);
}

#[test]
fn suspend_and_resume_change_one_word() {
    let Some(store) = store() else { return };
    let mut wanted = store.job.desired.clone();
    wanted.suspend = true;
    assert_eq!(store.after("suspend", &[store.id()]), wanted);
    assert_eq!(store.after("suspend", &[store.id()]), wanted, "once more is harmless");
    wanted.suspend = false;
    assert_eq!(store.after("resume", &[store.id()]), wanted);
}

#[test]
fn words_that_stand_nowhere_are_added_and_spaces_are_kept() {
    let Some(store) = store() else { return };
    let key = format!("agent-runner:job:{}", store.id());
    store.server.cli(&["HSET", &key, "desired", "{ \"job_type\" : \"echo\" }\n"]);
    store.after("suspend", &[store.id()]);
    assert_eq!(store.stored().desired.text(), "{ \"job_type\" : \"echo\" ,\"suspend\":true}\n");
    assert_eq!(store.after("retry", &[store.id(), "force"]).retry, 1);
}

#[test]
fn what_is_no_job_or_cannot_be_decoded_is_refused_and_stays_as_it_is() {
    let Some(store) = store() else { return };
    let key = format!("agent-runner:job:{}", store.id());
    let before = store.server.cli(&["DBSIZE"]);
    for script in SCRIPTS {
        assert!(store.call(script, &["mistyped"]).contains("refused: there is no job mistyped"), "{script}");
        assert!(store.call(script, &[]).contains("refused: which job?"), "{script}");
    }
    assert_eq!(store.server.cli(&["DBSIZE"]), before, "no key was made");
    let open = store.call("retry", &[store.id()]);
    assert!(open.contains("refused: it has not ended"), "{open}");
    store.server.cli(&["HSET", "agent-runner:job:ghost", "desired", "{\"job_type\":\"echo\"}"]);
    assert!(store.call("retry", &["ghost"]).contains("refused: there is no job ghost"));
    for text in ["{\"job_type\":", "[]", "{}", "7", ""] {
        store.server.cli(&["HSET", &key, "desired", text]);
        assert!(store.call("cancel", &[store.id()]).contains("cannot be decoded"), "{text}");
        assert_eq!(store.stored().desired.text(), text);
    }
    let twice = r#"{"job_type":"echo","retry":1,"retry":2}"#;
    store.server.cli(&["HSET", &key, "desired", twice]);
    assert!(store.call("retry", &[store.id(), "force"]).contains("holds a word twice"));
    store.server.cli(&["HSET", &key, "desired", r#"{"job_type":"echo","ret\u0072y":1}"#]);
    assert!(store.call("retry", &[store.id(), "force"]).contains("or with escapes"));
    store.server.cli(&["HSET", &key, "desired", r#"{"job_type":"echo"}"#]);
    store.end();
    for script in ["cancel", "suspend"] {
        assert!(store.call(script, &[store.id()]).contains("refused: it has ended already"), "{script}");
    }
}

#[test]
fn all_scripts_share_one_way_to_edit() {
    let shared = |script: &str| {
        let text = std::fs::read_to_string(path(script)).unwrap();
        let (_, rest) = text.split_once("-- The same in all scripts").unwrap();
        rest.split_once("-- … to here.").unwrap().0.to_owned()
    };
    for script in SCRIPTS {
        assert_eq!(shared(script), shared("retry"), "{script}");
    }
}
