//! Identifiers. Each is a checked string: a value of the type is safe to put into a file name, an S3 key,
//! an ECS `startedBy` and a log line.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {what}: {allowed}")]
pub struct InvalidId {
    /// The name of the identifier, as in "job id".
    pub what: &'static str,
    /// The refused text, cut to 80 characters.
    pub value: String,
    /// What is allowed, as a phrase.
    pub allowed: &'static str,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $allowed:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// [`InvalidId`] names what is allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text: String = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text.into_boxed_str()))
                } else {
                    let value = text.chars().take(80).collect();
                    Err(InvalidId { what: $what, value, allowed: $allowed })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_name(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

identifier!(
    /// Names a job for its whole life, over all retries. At most 64 characters, so that `job/attempt` fits
    /// into ECS's `startedBy` (128).
    JobId,
    "job id",
    "1 to 64 of a-z, 0-9 and '-', not starting with '-'",
    |text| is_name(text, 64)
);

identifier!(
    /// Names one attempt unguessably and doubles as the client token of the launch call: 128 random bits as
    /// 32 lowercase hex digits (ECS allows 64 characters). Knowing it is the right to report on the attempt.
    LaunchToken,
    "launch token",
    "32 lowercase hex digits",
    |text| is_hex(text, 32)
);

identifier!(
    /// Names one write: 64 random bits as 16 hex digits. It is kept inside the section it wrote, so a
    /// conditional write whose answer was lost recognises itself on the second try.
    WriteId,
    "write id",
    "16 lowercase hex digits",
    |text| is_hex(text, 16)
);

identifier!(
    /// Names what executes an attempt: an ECS task ARN, a process (`process:<token>`), a pool slot.
    TaskId,
    "task id",
    "1 to 256 printable ASCII characters without spaces",
    |text| !text.is_empty() && text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic())
);

impl LaunchToken {
    /// The token made of 128 given random bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}").into_boxed_str())
    }

    /// The first eight digits: enough to tell the attempts of one job apart in a path, too few to act as
    /// the capability.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0[..8]
    }
}

impl WriteId {
    /// The write id made of 64 given random bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("{bits:016x}").into_boxed_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_that_could_leave_its_folder_is_refused() {
        for bad in ["", "..", "a/b", "A", "a_b", "-a", "a b", &"a".repeat(65), "ä"] {
            assert!(JobId::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(JobId::new("0192d3b8-7a4f-7000-8000-000000000000").is_ok());
    }

    #[test]
    fn a_token_is_32_hex_digits_even_when_its_bits_are_few() {
        assert_eq!(LaunchToken::from_bits(0xab).as_str(), "000000000000000000000000000000ab");
        assert!(LaunchToken::new("000000000000000000000000000000AB").is_err());
        assert!(serde_json::from_str::<LaunchToken>("\"abc\"").is_err());
    }
}
