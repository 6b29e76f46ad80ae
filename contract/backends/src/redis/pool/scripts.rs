//! The scripts, compiled for one database.

use redis::Script;

const COMMON: &str = include_str!("lua/common.lua");

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        /// One script for each step.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
            /// Where changes are told.
            pub(super) channel: String,
        }

        impl Scripts {
            pub(super) fn of(db: i64) -> Self {
                let script = |text: &str| Script::new(&format!("local DB = {db}\n{COMMON}\n{text}"));
                Self {
                    $($name: script(include_str!(concat!("lua/", stringify!($name), ".lua"))),)*
                    channel: format!("agent-runner:pool:changed@{db}"),
                }
            }
        }
    };
}

scripts!(
    launch, observe, list, stop, forget, workers, bury, abandon, register, beat, take, done, hand_back,
    drain, leave, withdraw,
);
