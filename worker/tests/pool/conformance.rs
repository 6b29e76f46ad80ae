//! The suite of task runtimes. The pool's worker is the real one; what it starts for an attempt is a script.

use crate::world::World;
use async_trait::async_trait;
use backends::Hints;
use reconciler::tasks::conformance::{self as suite, Play, Stage};
use reconciler::tasks::{Launch, Observed, Tasks};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// What a worker does follows from the job's name.
pub(crate) const SCRIPT: &str = r#"#!/bin/sh
ready() { echo ready > "$SCRATCH/$AGENT_RUNNER_JOB_ID"; }
case "$AGENT_RUNNER_JOB_ID" in
lasts-*) ready; exec sleep 600 ;;
ignores-*) trap '' TERM; ready; exec sleep 600 ;;
exits-*) code=${AGENT_RUNNER_JOB_ID#exits-}; exit "${code%%-*}" ;;
once-*) mkdir "$SCRATCH/ran-$AGENT_RUNNER_LAUNCH_TOKEN" || touch "$SCRATCH/ran-twice"; exit 0 ;;
esac
"#;

/// Lets the workers of this world start the script for each attempt.
pub(crate) fn scripted(world: &mut World) {
    let program = world.path("worker.sh");
    std::fs::write(&program, SCRIPT).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.env.insert("AGENT_RUNNER_POOL_PROGRAM".to_owned(), program.display().to_string());
}

fn stage() -> Option<World> {
    let mut world = World::new()?;
    scripted(&mut world);
    world.start_worker(3);
    Some(world)
}

#[async_trait]
impl Stage for World {
    fn tasks(&self) -> &dyn Tasks {
        &self.tasks
    }

    fn launch(&mut self, play: Play) -> Launch {
        match play {
            Play::Lasts => self.launch_of("lasts", false),
            Play::Exits(code) => self.launch_of(&format!("exits-{code}"), false),
            Play::Ignores => self.launch_of("ignores", false),
        }
    }

    async fn playing(&mut self, launch: &Launch) {
        self.wait_for(launch.job_id.as_str());
    }

    async fn restart(&mut self) {
        self.reopen();
    }

    /// A task that ended well is no hint of its own: its report was one, and there are no reports here.
    async fn changed(&mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(50), self.hints.next()).await;
    }

    async fn clear(&mut self) {
        let Observed::Known(views) = self.tasks.list().await else { panic!("nothing was listed") };
        for view in views {
            self.tasks.stop(&view.task, Duration::ZERO).await.unwrap();
        }
    }
}

macro_rules! checks {
    ($($check:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let Some(mut stage) = stage() else { return };
            suite::$check(&mut stage).await;
            stage.clear().await;
        })*
    };
}

checks!(
    a_token_is_launched_once_whoever_asks_again
    a_token_that_was_never_launched_has_no_task
    a_running_task_is_alive_and_listed_with_its_job_and_token
    a_task_that_ended_is_stopped_and_says_how_it_ended
    a_task_that_is_asked_to_stop_stops_and_may_be_asked_again
    a_task_that_does_not_listen_is_killed_after_the_grace_and_not_before
    a_task_outlives_the_orchestrator_and_is_stopped_by_the_next_one
    a_task_that_ended_while_nobody_looked_is_stopped_for_the_next_orchestrator
    a_forgotten_task_is_absent_and_may_be_forgotten_again
    forgetting_one_task_leaves_the_others
    equal_jobs_make_equal_requests_and_they_are_accepted
    a_request_made_for_another_runtime_is_refused
);
