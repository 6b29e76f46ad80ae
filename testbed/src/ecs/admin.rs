//! What tests ask of the double itself.

use super::faults::{Fault, Kind};
use super::world::World;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    faults: Vec<Fault>,
    /// Faults that wait are dropped first.
    #[serde(default)]
    clear: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: f64,
}

fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

impl World {
    /// Takes a script: all of it or nothing.
    pub(crate) fn script(&mut self, body: &[u8]) -> Result<Value, String> {
        let script: Script = read(body)?;
        if let Some(mistake) = script.faults.iter().find_map(Fault::mistake) {
            return Err(mistake);
        }
        let (immediate, waiting): (Vec<Fault>, Vec<Fault>) =
            script.faults.into_iter().partition(Fault::is_immediate);
        if let Some(mistake) = immediate.iter().find_map(|fault| self.misses(fault)) {
            return Err(mistake);
        }
        if script.clear {
            self.faults.clear();
        }
        waiting.into_iter().for_each(|fault| self.faults.add(fault));
        immediate.iter().for_each(|fault| self.strike(fault));
        Ok(json!({"waiting": self.faults.view()}))
    }

    /// Why an immediate fault cannot befall what it names.
    fn misses(&self, fault: &Fault) -> Option<String> {
        if let (Kind::Forget, Some(token)) = (fault.fault, &fault.token) {
            return (!self.tokens.knows(token)).then(|| format!("no token {token}"));
        }
        match self.tasks.get(fault.task_id()) {
            None => Some(format!("no task {}", fault.task_id())),
            Some(task) if fault.fault == Kind::Forget && !task.is_stopped() => {
                Some(format!("{} has not stopped", task.arn))
            }
            Some(_) => None,
        }
    }

    fn strike(&mut self, fault: &Fault) {
        match (fault.fault, &fault.token) {
            (Kind::Forget, Some(token)) => self.tokens.forget(token),
            _ => self.befall(fault.task_id(), fault),
        }
    }

    /// Moves the clock and handles what is due then.
    pub(crate) fn advance(&mut self, body: &[u8]) -> Result<Value, String> {
        let advance: Advance = read(body)?;
        let by = Duration::try_from_secs_f64(advance.seconds).map_err(|e| e.to_string())?;
        self.clock.advance(by);
        self.run();
        Ok(json!({"now": super::clock::seconds(self.now)}))
    }
}
