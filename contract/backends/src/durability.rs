//! What a write survives: one setting for records and artifacts.

use std::fmt;
use std::str::FromStr;

/// What a write survives once it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of any process, by kill -9 too. A power cut may undo the last writes.
    #[default]
    Process,
    /// A power cut: every acknowledged write is on the disk.
    Power,
}

impl Durability {
    /// The word in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "process" => Ok(Self::Process),
            "power" => Ok(Self::Power),
            _ => Err(format!("{text:?} is none of process, power")),
        }
    }
}
