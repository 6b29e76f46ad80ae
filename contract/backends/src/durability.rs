//! How much a write survives; one setting for records and artifacts.

use std::fmt;
use std::str::FromStr;

/// What a stored value survives (`AGENT_RUNNER_DURABILITY`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The death of any process, `kill -9` included. A power loss may take back the last writes (of the
    /// records: back to an earlier consistent state). SQLite `synchronous=NORMAL`; files are renamed into
    /// place without fsync.
    #[default]
    Process,
    /// A power loss too: SQLite `synchronous=FULL`, fsync of files and folders.
    Power,
}

impl Durability {
    /// The word of the setting.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_survives_its_text_form() {
        for durability in [Durability::Process, Durability::Power] {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        assert!("full".parse::<Durability>().unwrap_err().contains("process, power"));
    }
}
