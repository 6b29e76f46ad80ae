//! A slot: one thread with one connection, which takes an assignment, executes it, says how it ended, and takes
//! the next.

use super::attempt::{NoFolder, TaskEnd, execute};
use super::crew::Crew;
use crate::log;
use backends::redis::pool::{Assigned, Done, Member, PoolError, Taken};
use std::time::Duration;

/// How long a slot waits to be woken before it looks by itself: what it was to be woken by can be lost with a
/// worker that was woken in its place and died.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a call that failed, doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Works until the member drains and nothing is left for this slot.
pub(super) fn run(crew: &Crew, slot: u32, mut member: Member) {
    let mut next = None;
    loop {
        let taken = match next.take() {
            Some(taken) => taken,
            None => again(|| member.take(slot)),
        };
        match taken {
            Taken::StruckOff => crew.die("the worker was struck off the pool"),
            Taken::Nothing if crew.is_draining() => return,
            // Woken in another's place it would have to wake that one, again and again.
            Taken::Nothing if crew.is_withdrawn() => crew.wait_until_offered(LOOK_EVERY),
            Taken::Nothing => {
                // What went wrong shows when it takes.
                let _ = member.wait_for_work(LOOK_EVERY);
            }
            Taken::Assigned(assigned) if crew.is_draining() => {
                again(|| member.hand_back(slot, &assigned.token));
            }
            Taken::Assigned(assigned) => {
                let Ok(end) = executed(crew, slot, &assigned) else {
                    // Before: this worker must not be the one that takes it again.
                    again(|| member.withdraw(true));
                    again(|| member.hand_back(slot, &assigned.token));
                    crew.end(slot);
                    continue;
                };
                if end.code != Some(0) && !crew.look_at_folder() {
                    again(|| member.withdraw(true));
                }
                let done = Done {
                    code: end.code,
                    signal: end.signal,
                    stop_code: end.stop_code,
                    reason: &end.reason,
                };
                next = Some(again(|| member.done(slot, &assigned.token, &done)));
                // Not before: whoever drains takes a free slot for one that has said everything.
                crew.end(slot);
            }
        }
    }
}

/// `Err`: nothing was started, and this worker cannot.
fn executed(crew: &Crew, slot: u32, assigned: &Assigned) -> Result<TaskEnd, NoFolder> {
    let end = match crew.begin(slot, assigned) {
        Ok(ears) => execute(crew, slot, assigned, &ears),
        Err(e) => Ok(TaskEnd::never_started(&format!("no descriptors are left: {e}"))),
    };
    crew.over(slot);
    end
}

/// Calls until there is an answer: what is not said here would have to be found out by silence. If it takes
/// too long the heartbeats have failed as well, and end the process.
fn again<T>(mut call: impl FnMut() -> Result<T, PoolError>) -> T {
    let mut pause = FIRST;
    loop {
        match call() {
            Ok(answer) => return answer,
            Err(error) if pause == FIRST * 4 => log::line("-", &error.to_string()),
            Err(_) => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
}
