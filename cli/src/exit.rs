//! Exit codes. They are a stable interface; the text for `--help` stands beside them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; for `run` and `wait`: what was waited for is so.
    Done,
    /// The request was refused, or something else failed.
    Failed,
    /// Wrong usage, or a setting that is not acceptable.
    Usage,
    /// No agent-runner answers.
    Unreachable,
    /// The API wants a token, or another one.
    Denied,
    /// The job failed by one of its own time limits.
    TimeLimit,
    /// `--timeout` passed; the job goes on.
    TimedOut,
    /// The job failed and no exit code of an agent says how.
    JobFailed,
    /// The job was cancelled, or Ctrl-C was pressed.
    Cancelled,
    /// The agent's own exit code.
    Agent(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Denied => 4,
            Self::TimeLimit => 123,
            Self::TimedOut => 124,
            Self::JobFailed => 125,
            Self::Cancelled => 130,
            Self::Agent(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// What `--help` says. 124 is that of timeout(1), 125 that of `docker run`, 130 that of a shell.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done; `run` and `wait`: the job SUCCEEDED, or what was waited for is so
    1  the request was refused, or something else failed; for one of several jobs at least;
       `wait`: what was waited for cannot be so any more; `doctor`: a check failed
    2  wrong usage, or a setting that is not acceptable
    3  no agent-runner answers
    4  the API wants a token, or one that may do this
  123  the job FAILED by one of its own time limits
  124  --timeout passed; the job goes on
  125  the job FAILED, and no exit code of an agent says how
  130  the job was cancelled, or Ctrl-C was pressed (143: SIGTERM)
  `healthcheck` ends with 0 or 1 whatever is wrong.
  `run` ends with the agent's own exit code, whatever it is, when that is how the job FAILED.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Denied,
            Exit::TimeLimit,
            Exit::TimedOut,
            Exit::JobFailed,
            Exit::Cancelled,
        ];
        for exit in all {
            assert!(HELP.contains(&format!("\n{:>5}  ", exit.code())), "{exit:?}");
        }
    }
}
