//! Listings: what is asked for, and what comes back.

use contract::Job;

/// Which jobs to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// At most this many; a page may be shorter although more follow.
    pub limit: usize,
    /// Where the last page ended; opaque.
    pub cursor: Option<String>,
}

/// One listed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The job.
    pub job: Job,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Listed>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// A part of a scan for what no hint announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Jobs without the `active` mark, in no order.
    pub jobs: Vec<Job>,
    /// Where to go on; `None`: every job was seen since the scan began.
    pub next: Option<String>,
}
