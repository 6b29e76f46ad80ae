//! Decoding of what anybody can put into a store, a file, a variable, a queue or a socket.
//!
//! | module | holds |
//! |---|---|
//! | here | [`Kind`]: what is decoded, and what must hold of every input |
//! | `seeds` | good values of each kind |
//! | `mutate` | what is done to them |
//! | `raw` | records as Redis and DynamoDB hold them, where these are compiled |
//! | `hostile` | families of inputs that grow, for bounds on time |
//!
//! Every input, whatever bytes it has, must hold: no panic; what is refused is refused with an explanation of
//! bounded length; what is accepted is encoded and decoded to the same value. Stores hand out their raw form
//! first: SQLite and Redis hold bytes, and bytes that are no UTF-8 become U+FFFD there, as here.
//!
//! `make test` decodes some hundred thousand inputs, `make fuzz` ten million and more; `contract/fuzz` holds the
//! same function for cargo-fuzz, which needs a nightly compiler.

mod hostile;
mod mutate;
#[cfg(any(feature = "redis", feature = "aws"))]
mod raw;
pub(crate) mod seeds;

pub use hostile::{FAMILIES, Family};
pub use mutate::Mutator;

use crate::say;
use backends::relay;
use backends::settings::{ArtifactsAt, Built, Machine, RecordsAt, Settings, TABLE};
use contract::live_log::LogPiece;
use contract::{
    Claim, Closing, Control, Created, Desired, Gate, Invalid, JobId, JobTypes, LaunchToken, Raw, Report,
    StatusView, Supports, TaskId, Timestamp, WriteId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

// These two need nothing of their crate and are private in it; the first is behind a feature that compiles an
// AWS SDK.
#[allow(dead_code, unreachable_pub, reason = "the file is part of another crate")]
#[path = "../../../contract/backends/src/settings/dot_env.rs"]
mod dot_env;
#[allow(dead_code, unreachable_pub, reason = "the file is part of another crate")]
#[path = "../../../contract/backends/src/sqs/message.rs"]
mod message;

/// The longest explanation in bytes: it is stored in `control`, whose item DynamoDB limits to 400 KB.
const LONGEST_EXPLANATION: usize = 8 * 1024;

/// Something that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of sections and files")]
pub enum Kind {
    Created,
    Desired,
    Control,
    Status,
    Claim,
    Gate,
    Report,
    Closing,
    /// A request body over the defaults of a job type.
    JobRequest,
    /// The job-types file.
    JobTypes,
    /// The value of a setting; the first byte says of which.
    Setting,
    /// The `.env` file.
    DotEnv,
    /// The file of tokens.
    Tokens,
    /// A message of a queue.
    Message,
    /// What a worker asks of the orchestrator beside it.
    RelayRequest,
    /// What it is answered.
    RelayAnswer,
    /// Ids, times and keys.
    Name,
    /// A job with its attempts as a script of Redis answers.
    #[cfg(feature = "redis")]
    Redis,
    /// An item of DynamoDB.
    #[cfg(feature = "aws")]
    Dynamo,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Created,
        Self::Desired,
        Self::Control,
        Self::Status,
        Self::Claim,
        Self::Gate,
        Self::Report,
        Self::Closing,
        Self::JobRequest,
        Self::JobTypes,
        Self::Setting,
        Self::DotEnv,
        Self::Tokens,
        Self::Message,
        Self::RelayRequest,
        Self::RelayAnswer,
        Self::Name,
        #[cfg(feature = "redis")]
        Self::Redis,
        #[cfg(feature = "aws")]
        Self::Dynamo,
    ];

    /// Decodes `input`; answers whether it was accepted.
    ///
    /// # Panics
    /// When the decoder panics or something does not hold that must.
    #[must_use]
    pub fn decode(self, input: &[u8]) -> bool {
        let text = String::from_utf8_lossy(input);
        match self {
            Self::Created => section::<Created>(&text),
            Self::Desired => desired(Desired::parse(&text)),
            Self::Control => control(&text),
            Self::Status => section::<StatusView>(&text),
            Self::Claim => section::<Claim>(&text),
            Self::Gate => section::<Gate>(&text),
            Self::Report => section::<Report>(&text),
            Self::Closing => section::<Closing>(&text),
            Self::JobRequest => request(&text),
            Self::JobTypes => said(JobTypes::parse(&text)).is_some(),
            Self::Setting => setting(input),
            Self::DotEnv => dot_env::parse(".env", &text).is_ok(),
            Self::Tokens => match api::check_tokens(&text) {
                Ok(()) => true,
                Err(e) => explained(&e),
            },
            Self::Message => match message::job_id(&text) {
                Ok(job_id) => JobId::new(job_id.as_str()).is_ok(),
                Err(_) => false,
            },
            Self::RelayRequest => line::<relay::Request>(input),
            Self::RelayAnswer => line::<relay::Answer>(input),
            Self::Name => name(&text),
            #[cfg(feature = "redis")]
            Self::Redis => raw::redis(&text),
            #[cfg(feature = "aws")]
            Self::Dynamo => raw::dynamo(&text),
        }
    }
}

/// Decodes `input` as everything that there is.
///
/// # Panics
/// When something does not hold that must hold of every input.
pub fn decode_everything(input: &[u8]) {
    for kind in Kind::ALL {
        let _ = kind.decode(input);
    }
}

/// The accepted value, or `None` when it is refused well.
fn said<T>(found: Result<T, Invalid>) -> Option<T> {
    match found {
        Ok(value) => Some(value),
        Err(invalid) => {
            assert!(!invalid.errors.is_empty(), "refused without an error");
            bounded(&invalid.to_string());
            None
        }
    }
}

/// Always false: for what is refused. What a person wrote into a file of their own is quoted at any length.
fn explained(explanation: &str) -> bool {
    assert!(!explanation.is_empty(), "refused without a word");
    false
}

/// Always false: for what is refused and stored or answered with an explanation.
fn bounded(explanation: &str) -> bool {
    let size = explanation.len();
    let start = explanation.get(..200).unwrap_or_default();
    assert!(size <= LONGEST_EXPLANATION, "an explanation of {size} bytes: {start}");
    explained(explanation)
}

fn section<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> bool {
    let Some(value) = said(Raw::<T>::stored(text).parse()) else { return false };
    let encoded = Raw::of(&value);
    assert_eq!(encoded.parse().as_ref(), Ok(&value), "another value after {}", encoded.text());
    true
}

fn control(text: &str) -> bool {
    if let Ok(control) = Raw::<Control>::stored(text).parse() {
        assert!(section::<StatusView>(Raw::of(&control.view()).text()));
    }
    section::<Control>(text)
}

fn desired(found: Result<Desired, Invalid>) -> bool {
    let Some(value) = said(found) else { return false };
    let encoded = value.to_text();
    assert_eq!(Desired::parse(&encoded).as_ref(), Ok(&value), "another value after {encoded}");
    true
}

fn request(text: &str) -> bool {
    thread_local! {
        static TYPES: JobTypes = JobTypes::parse(seeds::JOB_TYPES).expect("the seed is good");
    }
    let supports = Supports { spot: true, cost: true };
    desired(TYPES.with(|types| types.request(text, supports)))
}

/// A line of JSON between two processes; it has no `PartialEq`, so its texts are compared.
fn line<T: Serialize + DeserializeOwned>(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(input) else { return false };
    let encoded = serde_json::to_string(&value).expect("a line is encoded");
    assert!(!encoded.contains('\n'), "a line of two lines");
    let again: T = serde_json::from_str(&encoded).expect("what was encoded is decoded");
    assert_eq!(serde_json::to_string(&again).expect("a line is encoded"), encoded);
    true
}

fn setting(input: &[u8]) -> bool {
    let Some((which, value)) = input.split_first() else { return false };
    let name = TABLE[usize::from(*which) % TABLE.len()].name;
    let value = String::from_utf8_lossy(value);
    let machine = Machine {
        cores: 3,
        is_file: |path| path.ends_with("there.toml"),
        built: Built { redis: true, aws: true },
    };
    let get = |asked: &str| (asked == name).then(|| value.clone().into_owned());
    match Settings::read(get, machine) {
        Err(bad) => explained(&bad.to_string()),
        Ok(settings) => {
            let text = |setting: std::ffi::OsString| setting.into_string().expect("it was UTF-8");
            let records = text(settings.records.setting());
            assert_eq!(RecordsAt::parse(&records, machine.built), Ok(settings.records));
            let artifacts = text(settings.artifacts.setting());
            assert_eq!(ArtifactsAt::parse(&artifacts, machine.built), Ok(settings.artifacts));
            true
        }
    }
}

fn name(text: &str) -> bool {
    let ids = [
        JobId::new(text).map(|id| id.to_string()),
        LaunchToken::new(text).map(|id| id.to_string()),
        WriteId::new(text).map(|id| id.to_string()),
        TaskId::new(text).map(|id| id.to_string()),
    ];
    for id in &ids {
        match id {
            Ok(id) => assert_eq!(id, text),
            Err(e) => drop(bounded(&e.to_string())),
        }
    }
    let time = text.parse::<Timestamp>().ok();
    if let Some(time) = time {
        assert_eq!(time.to_string().parse(), Ok(time), "{text}");
    }
    let piece = LogPiece::of_key(text);
    if let Some(piece) = piece {
        assert_eq!(LogPiece::of_key(&piece.key("f")), Some(piece), "{text}");
    }
    ids.iter().any(Result::is_ok) || time.is_some() || piece.is_some()
}

/// What a run has counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Inputs that were decoded.
    pub inputs: u64,
    /// Those that were accepted, by [`Kind::ALL`].
    pub accepted: [u64; Kind::ALL.len()],
    /// All of a kind.
    pub of_kind: [u64; Kind::ALL.len()],
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.inputs += other.inputs;
        for at in 0..Kind::ALL.len() {
            self.accepted[at] += other.accepted[at];
            self.of_kind[at] += other.of_kind[at];
        }
        self
    }

    /// A line for each kind.
    #[must_use]
    pub fn table(&self) -> String {
        let line = |(at, kind)| format!("  {kind:?}: {} of {} accepted", self.accepted[at], self.of_kind[at]);
        Kind::ALL.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Decodes `inputs` inputs made from `seed`, each as the kind that it was made for.
///
/// # Panics
/// When something does not hold that must; says first which input it was.
#[must_use]
pub fn run(seed: u64, inputs: u64) -> Counts {
    /// Says which input it was when a decoder panics.
    struct Witness<'a>(u64, &'a Option<(Kind, Vec<u8>)>);
    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            if let (true, Some((kind, input))) = (std::thread::panicking(), self.1) {
                let shown = String::from_utf8_lossy(input);
                let start: String = shown.chars().take(2000).collect();
                say(&format!("seed {}, {} bytes as {kind:?}: {start}", self.0, input.len()));
            }
        }
    }
    let mut mutator = Mutator::new(seed);
    let mut counts = Counts::default();
    for _ in 0..inputs {
        let at = mutator.choose(Kind::ALL.len());
        let kind = Kind::ALL[at];
        let made = Some((kind, mutator.input(kind)));
        let witness = Witness(seed, &made);
        let accepted = made.as_ref().is_some_and(|(kind, input)| kind.decode(input));
        drop(witness);
        counts.inputs += 1;
        counts.of_kind[at] += 1;
        counts.accepted[at] += u64::from(accepted);
    }
    counts
}
