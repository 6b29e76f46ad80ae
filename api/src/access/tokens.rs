//! The file of bearer tokens. It holds digests only, so that reading it gives nobody access:
//!
//! ```toml
//! [tokens.ci]
//! sha256 = "<64 hex digits>"           # printf %s "$TOKEN" | sha256sum
//! scopes = ["read", "submit"]
//! expires_at = "2027-01-01T00:00:00Z"  # optional
//! ```
//!
//! The file is read again when it changes, so tokens are rotated without a restart. A change that cannot be
//! read leaves the tokens of before in force and is logged once.

use crate::problem::Problem;
use contract::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long a look at the file's times holds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a token may do. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read jobs, logs, results and metrics.
    Read,
    /// Submit jobs.
    Submit,
    /// Change jobs: patch, cancel, retry, suspend, resume.
    Operate,
}

impl Scope {
    /// Its word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
        }
    }
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", .file.display())]
pub struct TokensError {
    file: PathBuf,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    tokens: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: String,
    scopes: BTreeSet<Scope>,
    expires_at: Option<String>,
}

/// A token without its secret.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) name: Arc<str>,
    pub(super) scopes: BTreeSet<Scope>,
    digest: [u8; 32],
    expires_at: Option<Timestamp>,
}

/// When the file was written and how long it is, as far as the system tells.
type Stamp = Option<(SystemTime, u64)>;

#[derive(Debug)]
struct State {
    tokens: Arc<Vec<Arc<Token>>>,
    stamp: Stamp,
    looked: Instant,
}

/// The tokens of a file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    state: Mutex<State>,
}

impl TokenFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, TokensError> {
        // The stamp before the contents: a write in between is then read once more.
        let stamp = stamp(&path);
        let tokens = Arc::new(read(&path)?);
        let state = Mutex::new(State { tokens, stamp, looked: Instant::now() });
        Ok(Self { path, state })
    }

    /// The token whose secret is `secret`, if it is valid at `now`.
    pub(super) fn find(&self, secret: &str, now: Timestamp) -> Result<Arc<Token>, Problem> {
        let tokens = self.tokens();
        let digest: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        // Every token is compared, each in constant time: how long this takes tells nothing about a digest.
        let mut found = None;
        for token in tokens.iter() {
            let different = token.digest.iter().zip(&digest).fold(0_u8, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(different) == 0 {
                found = Some(token);
            }
        }
        let found = found.ok_or(Problem::Unauthenticated("this token is not known"))?;
        if found.expires_at.is_some_and(|at| at <= now) {
            return Err(Problem::Unauthenticated("this token has expired"));
        }
        Ok(found.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> Arc<Vec<Arc<Token>>> {
        let mut state = self.state();
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            let stamp = stamp(&self.path);
            if stamp != state.stamp {
                state.stamp = stamp;
                match read(&self.path) {
                    Ok(tokens) => {
                        tracing::info!(tokens = tokens.len(), "the file of tokens was read again");
                        state.tokens = Arc::new(tokens);
                    }
                    Err(error) => tracing::error!(%error, "the tokens of before stay in force"),
                }
            }
        }
        state.tokens.clone()
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

fn read(path: &Path) -> Result<Vec<Arc<Token>>, TokensError> {
    let failed = |message: String| TokensError { file: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    parse(&text).map_err(failed)
}

/// Reads the text of a file of tokens; refuses it with everything that is wrong in it.
pub(super) fn parse(text: &str) -> Result<Vec<Arc<Token>>, String> {
    let contents: Contents = toml::from_str(text).map_err(|e| e.to_string())?;
    let mut wrong = Vec::new();
    let mut tokens = Vec::new();
    for (name, entry) in contents.tokens {
        match token(&name, entry) {
            Ok(token) => tokens.push(Arc::new(token)),
            Err(message) => wrong.push(format!("\n  tokens.{name}{message}")),
        }
    }
    if tokens.is_empty() && wrong.is_empty() {
        wrong.push("\n  it holds no tokens, so nobody could ask for anything".to_owned());
    }
    if wrong.is_empty() { Ok(tokens) } else { Err(wrong.concat()) }
}

fn token(name: &str, entry: Entry) -> Result<Token, String> {
    let printable = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(printable) || name == "local" {
        return Err(
            ": a name has 1 to 64 letters, digits, '-', '_', '.' or '@', and is not \"local\"".to_owned()
        );
    }
    let digest = hex(&entry.sha256).ok_or(".sha256: 64 hex digits, as printed by sha256sum")?;
    if entry.scopes.is_empty() {
        return Err(".scopes: at least one of \"read\", \"submit\", \"operate\"".to_owned());
    }
    let expires_at = match entry.expires_at {
        None => None,
        Some(text) => Some(text.parse().map_err(|e| format!(".expires_at = {text:?}: {e}"))?),
    };
    Ok(Token { name: name.into(), scopes: entry.scopes, digest, expires_at })
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn digest(secret: &str) -> String {
        Sha256::digest(secret).iter().map(|b| format!("{b:02x}")).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_found_by_its_secret_until_it_expires() {
        let (a, b) = (digest("one"), digest("two"));
        let (_folder, path) = file(&format!(
            "[tokens.a]\nsha256 = \"{a}\"\nscopes = [\"read\"]\n\
             [tokens.b]\nsha256 = \"{b}\"\nscopes = [\"submit\", \"operate\"]\nexpires_at = \"2026-12-01T00:00:00Z\"\n"
        ));
        let file = TokenFile::open(path).unwrap();
        let before = at("2026-11-30T23:59:59Z");
        assert_eq!(&*file.find("one", before).unwrap().name, "a");
        assert_eq!(file.find("two", before).unwrap().scopes, [Scope::Submit, Scope::Operate].into());
        let e = file.find("two", at("2026-12-01T00:00:00Z")).unwrap_err().to_string();
        assert_eq!(e, "this token has expired");
        for wrong in ["", "One", "one ", &a] {
            assert_eq!(
                file.find(wrong, before).unwrap_err().to_string(),
                "this token is not known",
                "{wrong}"
            );
        }
    }

    #[test]
    fn everything_that_is_wrong_in_a_file_is_said_with_its_place() {
        let good = digest("x");
        let (_folder, path) = file(&format!(
            "[tokens.local]\nsha256 = \"{good}\"\nscopes = [\"read\"]\n\
             [tokens.b]\nsha256 = \"xyz\"\nscopes = [\"read\"]\n\
             [tokens.c]\nsha256 = \"{good}\"\nscopes = []\n\
             [tokens.d]\nsha256 = \"{good}\"\nscopes = [\"read\"]\nexpires_at = \"soon\"\n"
        ));
        let e = TokenFile::open(path).unwrap_err().to_string();
        for part in [
            "tokens.local: a name",
            "tokens.b.sha256: 64 hex",
            "tokens.c.scopes: at least",
            "tokens.d.expires_at",
        ] {
            assert!(e.contains(part), "{part}: {e}");
        }
        let (_folder, path) = file("");
        assert!(TokenFile::open(path).unwrap_err().to_string().contains("holds no tokens"));
        let (_folder, path) = file("[tokens.a]\nsha256 = \"\"\nscopes = [\"admin\"]\n");
        assert!(TokenFile::open(path).unwrap_err().to_string().contains("admin"));
    }

    #[test]
    fn a_digest_with_the_same_bytes_in_another_order_is_another_digest() {
        let mut bytes: [u8; 32] = Sha256::digest("one").into();
        bytes.swap(0, 1);
        let swapped: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_ne!(swapped, digest("one"));
        let (_folder, path) = file(&format!("[tokens.a]\nsha256 = \"{swapped}\"\nscopes = [\"read\"]\n"));
        assert!(TokenFile::open(path).unwrap().find("one", at("2026-11-22T00:00:00Z")).is_err());
    }

    #[test]
    fn a_name_has_1_to_64_plain_characters() {
        let text =
            |name: &str| format!("[tokens.\"{name}\"]\nsha256 = \"{}\"\nscopes = [\"read\"]\n", digest("x"));
        for good in ["a", "Ada.L-1_@x", &"n".repeat(64)] {
            assert!(crate::check_tokens(&text(good)).is_ok(), "{good}");
        }
        for bad in ["", "a b", "\u{e4}", &"n".repeat(65)] {
            assert!(crate::check_tokens(&text(bad)).unwrap_err().contains(": a name has 1 to 64"), "{bad}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
        let entry =
            |secret: &str| format!("[tokens.a]\nsha256 = \"{}\"\nscopes = [\"read\"]\n", digest(secret));
        let (_folder, path) = file(&entry("one"));
        let file = TokenFile::open(path.clone()).unwrap();
        let now = at("2026-11-22T00:00:00Z");
        // Two writes within one tick of the clock are told apart by their length.
        let change = |text: String| {
            std::fs::write(&path, text).unwrap();
            file.state().looked = Instant::now().checked_sub(LOOK_AGAIN).unwrap();
        };
        change(entry("two") + "\n");
        assert!(file.find("one", now).is_err());
        assert!(file.find("two", now).is_ok());
        change("[tokens".to_owned());
        assert!(file.find("two", now).is_ok(), "the tokens of before stay in force");
    }
}
