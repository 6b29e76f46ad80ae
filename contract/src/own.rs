//! Who may write which section. A role writes a section only if it [`Owns`] it, and the trait is sealed, so
//! the table below is the whole truth: a worker that writes `control` does not compile.
//!
//! | section | API | reconciler | worker |
//! |---|---|---|---|
//! | `created` | at creation | | |
//! | `desired` | yes | | |
//! | `control`, `status` | | yes | |
//! | `active` | sets it with `desired` | clears it | |
//! | `claim`, `closing` | | yes | |
//! | `gate` | | seals | starts, finishes |
//! | `report` | | | yes |

mod sealed {
    pub trait Sealed {}
}

/// Who acts.
pub trait Role: sealed::Sealed + Send + Sync + 'static {
    /// The role's name in logs.
    const NAME: &'static str;
}

/// A part of a record that has one writer.
pub trait Section: sealed::Sealed + 'static {}

/// `R: Owns<S>` means that role `R` may write section `S`.
pub trait Owns<S: Section>: Role {}

macro_rules! marks {
    ($of:ident: $($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])* #[derive(Debug, Clone, Copy)] pub enum $name {}
          impl sealed::Sealed for $name {}
          marks!(@impl $of $name);)*
    };
    (@impl Role $name:ident) => { impl Role for $name { const NAME: &'static str = stringify!($name); } };
    (@impl Section $name:ident) => { impl Section for $name {} };
}

marks!(Role:
    /// Writes desired records.
    Api,
    /// Decides, launches and closes.
    Reconciler,
    /// Executes one attempt and reports.
    Worker,
);

/// The sections, as types.
pub mod section {
    use super::{Section, sealed};
    marks!(Section:
        /// Job: who asked for it and when; never changes.
        Created,
        /// Job: what is wanted.
        Desired,
        /// Job: the reconciler's memory, together with its projection `status`.
        Control,
        /// Attempt: the frozen launch.
        Claim,
        /// Attempt: absent → started → finished.
        GatePass,
        /// Attempt: absent or started → sealed.
        GateSeal,
        /// Attempt: what the worker saw.
        Report,
        /// Attempt: evidence and the end of the attempt.
        Closing,
    );
}

macro_rules! owns {
    ($($role:ident: $($section:ident),*;)*) => { $($(impl Owns<section::$section> for $role {})*)* };
}
owns! {
    Api: Created, Desired;
    Reconciler: Control, Claim, GateSeal, Closing;
    Worker: GatePass, Report;
}
