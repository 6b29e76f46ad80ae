//! The worker's side of the gate: start, signs of life, outcome.

use crate::Exit;
use crate::agent;
use crate::drive::block_on;
use crate::execution::now;
use crate::log;
use crate::patience::Patience;
use crate::settings::Settings;
use crate::signals::Signals;
use backends::records::WorkerRecords;
use backends::{GateAnswer, RecordsError, Retry, StartAnswer};
use contract::{Claim, Gate, LeaveReason, Outcome, Raw, Report};
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

/// How long the gate is tried. Nothing has been done yet, so a worker that cannot reach its store makes
/// room: the attempt is then counted as lost and the job is tried again.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Opens the store of records.
pub(crate) type OpenRecords<'a> = &'a dyn Fn() -> Result<WorkerRecords, RecordsError>;

/// Whether the attempt is still ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// As far as known.
    Kept,
    /// The reconciler has left it on purpose. It tells the task to stop, with the grace period, and goes on when it has
    /// seen it stopped.
    Left,
    /// It is gone, or was sealed because this task was taken for stopped: another one may be started any moment.
    Lost,
}

impl Beat {
    fn of(refused: &GateAnswer) -> Self {
        let GateAnswer::Refused(Some(gate)) = refused else { return Self::Lost };
        let Ok(Gate::Sealed { why, .. }) = gate.parse() else { return Self::Lost };
        match why {
            LeaveReason::Cancelled
            | LeaveReason::Suspended
            | LeaveReason::Retried
            | LeaveReason::DeadlineExceeded
            | LeaveReason::CostLimitExceeded
            | LeaveReason::AttemptTimeout => Self::Left,
            LeaveReason::StartTimeout
            | LeaveReason::TaskGone
            | LeaveReason::Superseded
            | LeaveReason::LaunchRefused
            | LeaveReason::LaunchExpired => Self::Lost,
        }
    }
}

/// Reports on an attempt whose gate this worker has passed.
pub(crate) struct Reporter<'a> {
    settings: &'a Settings,
    /// Never closed: the process ends right after the last report, and the system closes faster than the
    /// store, which would free what it knows piece by piece.
    records: ManuallyDrop<WorkerRecords>,
    report: Report,
    due: Instant,
}

impl<'a> Reporter<'a> {
    /// Passes the gate.
    ///
    /// # Errors
    /// What the worker ends with when it did not pass.
    pub(crate) fn start(
        settings: &'a Settings,
        open: OpenRecords<'_>,
    ) -> Result<(Self, Box<Raw<Claim>>), Exit> {
        let mut patience = Patience::of(START_PATIENCE);
        let say = |message: &str| log::line(settings.job_id.as_str(), message);
        let mut opened = None;
        loop {
            let error = match try_start(settings, open, &mut opened) {
                Ok((records, report, StartAnswer::Started(claim))) => {
                    let due = Instant::now() + settings.heartbeat;
                    let records = ManuallyDrop::new(records);
                    return Ok((Self { settings, records, report, due }, claim));
                }
                Ok((_, _, StartAnswer::Lost(gate))) => {
                    say(&format!("the gate is not ours: {}", gate.text()));
                    return Err(Exit::Done);
                }
                Ok((_, _, StartAnswer::NotFound)) => {
                    say("there is no such attempt");
                    return Err(Exit::Done);
                }
                Err(e) => e,
            };
            say(&format!("the gate cannot be passed: {error}"));
            if error.retry() == Retry::Never || !patience.pause(None, Duration::ZERO) {
                return Err(Exit::NoStore);
            }
        }
    }

    /// Gives a sign of life if one is due. A store that does not answer is no reason to stop.
    pub(crate) fn beat(&mut self) -> Beat {
        if Instant::now() < self.due {
            return Beat::Kept;
        }
        self.report.heartbeat_at = now();
        let s = self.settings;
        let answer = block_on(self.records.heartbeat(&s.job_id, &s.token, &s.task, &self.report));
        self.due = Instant::now() + s.heartbeat;
        match answer {
            Ok(GateAnswer::Written) => Beat::Kept,
            Ok(refused) => {
                self.say(&format!("the attempt was taken away: {refused:?}"));
                Beat::of(&refused)
            }
            Err(e) => {
                self.say(&format!("no sign of life could be given: {e}"));
                Beat::Kept
            }
        }
    }

    /// When the next sign of life is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The first report.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// Says something in the worker's log.
    pub(crate) fn say(&self, message: &str) {
        log::line(self.settings.job_id.as_str(), message);
    }

    /// Reports the outcome, for as long as the settings allow. An answer that was lost does no harm: the
    /// store knows the outcome of this task when it comes again.
    pub(crate) fn finish(mut self, outcome: Outcome, signals: Option<&Signals>, grace: Duration) -> Exit {
        let mut patience = Patience::of(self.settings.report_patience);
        self.report.heartbeat_at = now();
        self.report.outcome = Some(outcome);
        let s = self.settings;
        loop {
            let error = match block_on(self.records.finish(&s.job_id, &s.token, &s.task, &self.report)) {
                Ok(GateAnswer::Written) => return Exit::Done,
                Ok(refused) => {
                    self.say(&format!("the outcome is not wanted any more: {refused:?}"));
                    return Exit::Done;
                }
                Err(e) => e,
            };
            self.say(&format!("the outcome cannot be reported: {error}"));
            agent::make_room(&s.task_folder);
            if error.retry() == Retry::Never || !patience.pause(signals, grace) {
                return Exit::NoStore;
            }
        }
    }
}

fn try_start(
    settings: &Settings,
    open: OpenRecords<'_>,
    opened: &mut Option<WorkerRecords>,
) -> Result<(WorkerRecords, Report, StartAnswer), RecordsError> {
    let records = match opened {
        Some(records) => records.clone(),
        None => opened.insert(open()?).clone(),
    };
    let started_at = now();
    let report =
        Report { started_at, heartbeat_at: started_at, outcome: None, phases: settings.phases.clone() };
    let answer = block_on(records.start(&settings.job_id, &settings.token, &settings.task, &report))?;
    Ok((records, report, answer))
}
