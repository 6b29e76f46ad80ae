//! What the judge looks at, as it is stored in Redis.

use super::Team;
use crate::judge::{Judged, Stored};
use crate::ledger::Line;
use redis::{Commands, Connection};
use serde_json::Value;
use std::collections::BTreeMap;

const JOB: &str = "agent-runner:job:";

impl Judged for Team {
    fn lines(&self) -> Vec<Line> {
        self.ledger().lines()
    }

    fn jobs(&self) -> BTreeMap<String, (Value, Value)> {
        let mut c = self.redis().connect();
        let ids = job_ids(&mut c);
        ids.into_iter()
            .map(|id| {
                let f: (Option<String>, Option<String>) =
                    c.hmget(format!("{JOB}{id}"), &["status", "control"]).expect("a job");
                (id, (json(f.0), json(f.1)))
            })
            .collect()
    }

    fn attempts(&self) -> Vec<Stored> {
        let mut c = self.redis().connect();
        let mut all = Vec::new();
        for job in job_ids(&mut c) {
            let tokens: Vec<String> =
                c.zrange(format!("agent-runner:attempts:{job}"), 0, -1).expect("the attempts");
            for token in tokens {
                let f: [Option<String>; 4] = c
                    .hmget(
                        format!("agent-runner:attempt:{job}:{token}"),
                        &["claim", "gate", "report", "closing"],
                    )
                    .expect("an attempt");
                let [claim, gate, report, closing] = f.map(json);
                all.push(Stored { job: job.clone(), token, claim, gate, report, closing });
            }
        }
        all
    }

    fn file(&self, key: &str) -> Option<Vec<u8>> {
        std::fs::read(self.artifacts().join(key)).ok()
    }
}

fn job_ids(c: &mut Connection) -> Vec<String> {
    let keys: Vec<String> = c.keys(format!("{JOB}*")).expect("the jobs");
    keys.iter().filter_map(|key| key.strip_prefix(JOB)).map(str::to_owned).collect()
}

fn json(text: Option<String>) -> Value {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}
