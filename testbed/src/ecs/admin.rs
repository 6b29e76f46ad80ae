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
        if script.clear {
            self.faults.clear();
        }
        for fault in script.faults {
            if fault.is_immediate() { self.strike(&fault)? } else { self.faults.add(fault) }
        }
        Ok(json!({"waiting": self.faults.view()}))
    }

    fn strike(&mut self, fault: &Fault) -> Result<(), String> {
        if let (Kind::Forget, Some(token)) = (fault.fault, &fault.token) {
            return if self.tokens.forget(token) { Ok(()) } else { Err(format!("no token {token}")) };
        }
        let name = fault.task.as_deref().unwrap_or_default();
        let id = name.rsplit('/').next().unwrap_or(name).to_owned();
        match self.tasks.get(&id) {
            None => Err(format!("no task {name}")),
            Some(task) if fault.fault == Kind::Forget && !task.is_stopped() => {
                Err(format!("{name} has not stopped"))
            }
            Some(_) => {
                self.befall(&id, fault);
                Ok(())
            }
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
