//! `--dry-run`: prints what would be decided about every active job, and does nothing.

use crate::Parts;
use crate::admission::Admission;
use crate::board::Board;
use crate::echo::Echoes;
use crate::facts::Facts;
use crate::metrics::Metrics;
use crate::pace::{Paces, Told};
use crate::queue::Queue;
use crate::work::Work;
use backends::RecordsError;
use contract::JobId;
use plan::Decision;
use std::collections::HashSet;
use std::fmt::Write as _;

/// One line for each active job: its id, the decision, and why. Slots are given out as they would be.
///
/// # Errors
/// The records cannot be read.
pub async fn dry_run(parts: Parts) -> Result<String, RecordsError> {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).map_err(|e| RecordsError::Unusable(e.to_string()))?;
    let admission = Admission::new(parts.limits());
    let work = Work {
        epoch: u64::MAX,
        queue: Queue::default(),
        admission,
        facts: Facts::default(),
        paces: Paces::new(metrics.failing.clone()),
        told: Told::default(),
        metrics,
        board: Board::default(),
        echoes: Echoes::default(),
        parts,
    };
    let keys: Vec<JobId> = work.parts.records.list_active().await?.into_iter().map(|(key, _)| key).collect();
    // First who holds a slot and who wants one, then the decisions with the slots given out.
    work.admission.expect(keys.iter().cloned().collect::<HashSet<_>>());
    for key in &keys {
        decide(&work, key, true).await?;
    }
    let mut out = String::new();
    for key in &keys {
        if let Some(decision) = decide(&work, key, false).await? {
            let _ = writeln!(out, "{key}  {}", describe(&decision));
        }
    }
    Ok(out)
}

async fn decide(work: &Work, key: &JobId, place: bool) -> Result<Option<Decision>, RecordsError> {
    let Some(loaded) = work.parts.records.load(key).await? else { return Ok(None) };
    let snapshot = work.snapshot(&loaded, None).await;
    let decision = work.decide(&snapshot);
    if place {
        let (reason, wants_slot) = match &decision {
            Decision::Wait { reason, wants_slot, .. } => (*reason, *wants_slot),
            Decision::Write { control, .. } => (control.reason, None),
            Decision::Do { .. } => (None, None),
        };
        work.keep_place(&loaded, &snapshot, reason, wants_slot).await;
    }
    Ok(Some(decision))
}

fn describe(decision: &Decision) -> String {
    match decision {
        Decision::Write { control, why, .. } => {
            let reason = control.reason.map_or("-", contract::Reason::as_str);
            format!("write  phase={} reason={reason}  ({why})", control.phase)
        }
        Decision::Do { effect, why } => format!("{}  ({why})", effect.name()),
        Decision::Wait { reason, until, .. } => {
            let reason = reason.map_or("-", contract::Reason::as_str);
            let until = until.map_or_else(|| "a change".to_owned(), |t| t.to_string());
            format!("wait  reason={reason}  until {until}")
        }
    }
}
