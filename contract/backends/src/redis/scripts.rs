//! The scripts. Each is sent by its digest; the server is given the text when it does not know it (after a
//! restart).

use redis::Script;

/// What stands for `desired` in a hash that has no field `created`: no text that can be decoded, so the
/// reconciler says `InvalidRecord` and launches nothing.
pub(super) const GHOST: &str =
    "\"no job but a key made by hand, as by HSET on a mistyped key: DEL it and edit the right one\"";

/// The scripts for one database of the server.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) active: Script,
    pub(super) claim: Script,
    pub(super) close: Script,
    pub(super) control: Script,
    pub(super) create: Script,
    pub(super) delete: Script,
    pub(super) desired: Script,
    pub(super) draft: Script,
    pub(super) expired: Script,
    pub(super) gate: Script,
    pub(super) job: Script,
    pub(super) lease: Script,
    pub(super) list: Script,
    pub(super) load: Script,
    pub(super) scan: Script,
}

impl Scripts {
    pub(super) fn of(db: i64) -> Self {
        let common = include_str!("lua/common.lua");
        let script =
            |body: &str| Script::new(&format!("local DB, GHOST = '{db}', '{GHOST}'\n{common}\n{body}"));
        Self {
            active: script(include_str!("lua/active.lua")),
            claim: script(include_str!("lua/claim.lua")),
            close: script(include_str!("lua/close.lua")),
            control: script(include_str!("lua/control.lua")),
            create: script(include_str!("lua/create.lua")),
            delete: script(include_str!("lua/delete.lua")),
            desired: script(include_str!("lua/desired.lua")),
            draft: script(include_str!("lua/draft.lua")),
            expired: script(include_str!("lua/expired.lua")),
            gate: script(include_str!("lua/gate.lua")),
            job: script(include_str!("lua/job.lua")),
            lease: script(include_str!("lua/lease.lua")),
            list: script(include_str!("lua/list.lua")),
            load: script(include_str!("lua/load.lua")),
            scan: script(include_str!("lua/scan.lua")),
        }
    }
}
