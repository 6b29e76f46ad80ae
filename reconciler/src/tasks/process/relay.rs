//! The orchestrator's end of a worker's socket: carries its reports out in the next commit of the store that
//! is open here anyway. See [`backends::relay`].

use backends::records::WorkerRecords;
use backends::relay::{Answer, LONGEST, Request};
use contract::{JobId, LaunchToken};
use std::io;
use std::os::unix::net;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tracing::debug;

/// Serves the worker of one attempt until it ends.
pub(super) async fn serve(
    socket: net::UnixStream,
    records: WorkerRecords,
    job_id: JobId,
    token: LaunchToken,
) {
    if let Err(error) = converse(socket, &records, &job_id, &token).await {
        // The worker goes to the store by itself then.
        debug!(%error, %job_id, "a worker's socket failed");
    }
}

async fn converse(
    socket: net::UnixStream,
    records: &WorkerRecords,
    job_id: &JobId,
    token: &LaunchToken,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut stream = BufReader::new(UnixStream::from_std(socket)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut stream).take(LONGEST).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&line)?;
        let answer: Answer = match request {
            Request::Start(task, report) => records.start(job_id, token, &task, &report).await.into(),
            Request::Heartbeat(task, report) => records.heartbeat(job_id, token, &task, &report).await.into(),
            Request::Finish(task, report) => records.finish(job_id, token, &task, &report).await.into(),
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        stream.get_mut().write_all(&text).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backends::conformance::fixtures;
    use backends::relay::RelayRecords;
    use backends::sqlite::{Access, SqliteOptions, SqliteRecords};
    use backends::{Durability, GateAnswer, NewJob, RecordsBackend, RecordsError, StartAnswer, WriteAnswer};
    use contract::{Gate, LeaveReason};
    use std::path::PathBuf;
    use std::sync::Arc;

    struct Node {
        _folder: tempfile::TempDir,
        path: PathBuf,
        records: Arc<SqliteRecords>,
        job: NewJob,
        token: LaunchToken,
    }

    fn open(path: &std::path::Path, access: Access) -> Result<Arc<SqliteRecords>, RecordsError> {
        SqliteRecords::open(path, SqliteOptions { durability: Durability::Process, access })
    }

    /// An orchestrator's store with a job that has a claimed attempt.
    async fn node() -> Node {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let records = open(&path, Access::Orchestrator).unwrap();
        let (job, token) = (fixtures::new_job(), backends::clock::fresh_token());
        records.create(&job).await.unwrap();
        let (claim, control) = (fixtures::claim(1), fixtures::launching(1, &token));
        let seen = fixtures::desired(&job);
        let claimed = records.claim(&job.job_id, &token, &claim, None, &seen, &control).await.unwrap();
        assert_eq!(claimed, WriteAnswer::Written);
        Node { _folder: folder, path, records, job, token }
    }

    impl Node {
        /// The worker's end, on a thread of its own as in another process; it may not open the store.
        async fn as_worker<T: Send + 'static>(
            &self,
            socket: net::UnixStream,
            may_open: bool,
            work: impl FnOnce(&RelayRecords, &JobId, &LaunchToken) -> T + Send + 'static,
        ) -> T {
            let (job_id, token, path) = (self.job.job_id.clone(), self.token.clone(), self.path.clone());
            let open = move || {
                let refused = || RecordsError::Unusable("it must not be opened".into());
                let opened = if may_open { open(&path, Access::Worker) } else { Err(refused()) };
                opened.map(|r| r as _)
            };
            let records = RelayRecords::new(socket, job_id.clone(), token.clone(), open);
            tokio::task::spawn_blocking(move || work(&records, &job_id, &token)).await.unwrap()
        }

        fn serve(&self, socket: net::UnixStream) -> tokio::task::JoinHandle<()> {
            let records = WorkerRecords::new(self.records.clone());
            tokio::spawn(serve(socket, records, self.job.job_id.clone(), self.token.clone()))
        }

        async fn gate(&self) -> Gate {
            let loaded = self.records.load(&self.job.job_id).await.unwrap().unwrap();
            loaded.attempts[0].gate.as_ref().unwrap().parse().unwrap()
        }
    }

    /// Drives what never waits for anything but its socket.
    fn now<T>(work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(&mut context) {
                return done;
            }
        }
    }

    #[tokio::test]
    async fn a_worker_reports_without_opening_the_store() {
        let node = node().await;
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        let served = node.serve(ours);
        let answers = node.as_worker(theirs, false, |records, job_id, token| {
            let task = fixtures::task("process:1");
            let started = now(records.start(job_id, token, &task, &fixtures::report(0))).unwrap();
            let other = fixtures::task("process:2");
            let lost = now(records.start(job_id, token, &other, &fixtures::report(0))).unwrap();
            let beat = now(records.heartbeat(job_id, token, &task, &fixtures::report(1))).unwrap();
            let finished = now(records.finish(job_id, token, &task, &fixtures::outcome())).unwrap();
            (started, lost, beat, finished)
        });
        let (started, lost, beat, finished) = answers.await;
        let StartAnswer::Started(claim) = started else { panic!("{started:?}") };
        assert_eq!(claim.parse().unwrap(), fixtures::claim(1));
        assert!(matches!(lost, StartAnswer::Lost(_)), "{lost:?}");
        assert_eq!((beat, finished), (GateAnswer::Written, GateAnswer::Written));
        assert!(matches!(node.gate().await, Gate::Finished { .. }));
        served.await.unwrap();
    }

    #[tokio::test]
    async fn a_sealed_gate_refuses_through_the_socket_too() {
        let node = node().await;
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        node.serve(ours);
        node.records.seal(&node.job.job_id, &node.token, LeaveReason::Cancelled).await.unwrap();
        let answers = node.as_worker(theirs, false, |records, job_id, token| {
            let task = fixtures::task("process:1");
            let started = now(records.start(job_id, token, &task, &fixtures::report(0))).unwrap();
            (started, now(records.finish(job_id, token, &task, &fixtures::outcome())).unwrap())
        });
        let (started, finished) = answers.await;
        assert!(matches!(started, StartAnswer::Lost(_)), "{started:?}");
        assert!(matches!(finished, GateAnswer::Refused(Some(_))), "{finished:?}");
    }

    #[tokio::test]
    async fn a_report_whose_carrier_died_before_or_after_the_commit_is_repeated_at_the_store() {
        for carried_out in [false, true] {
            let node = node().await;
            let (ours, theirs) = net::UnixStream::pair().unwrap();
            let task = fixtures::task("process:1");
            if carried_out {
                // What the orchestrator did before it was killed.
                let report = fixtures::report(0);
                node.records.start(&node.job.job_id, &node.token, &task, &report).await.unwrap();
            }
            drop(ours);
            let answers = node.as_worker(theirs, true, move |records, job_id, token| {
                let started = now(records.start(job_id, token, &task, &fixtures::report(0))).unwrap();
                (started, now(records.finish(job_id, token, &task, &fixtures::outcome())).unwrap())
            });
            let (started, finished) = answers.await;
            assert!(matches!(started, StartAnswer::Started(_)), "{carried_out}: {started:?}");
            assert_eq!(finished, GateAnswer::Written);
            assert!(matches!(node.gate().await, Gate::Finished { .. }));
        }
    }

    #[tokio::test]
    async fn what_is_no_request_ends_the_conversation_and_the_worker_goes_to_the_store() {
        let node = node().await;
        let (ours, mut theirs) = net::UnixStream::pair().unwrap();
        let served = node.serve(ours);
        std::io::Write::write_all(&mut theirs, b"{\"drop\":\"table\"}\n").unwrap();
        served.await.unwrap();
        let started = node.as_worker(theirs, true, |records, job_id, token| {
            now(records.start(job_id, token, &fixtures::task("process:1"), &fixtures::report(0))).unwrap()
        });
        assert!(matches!(started.await, StartAnswer::Started(_)));
    }
}
