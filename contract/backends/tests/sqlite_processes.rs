//! What holds when whole processes are killed or meet a limit. This file has its own `main`: it starts
//! itself again as the process that is to be hurt.

use backends::conformance::fixtures as fx;
use backends::{
    Access, CreateAnswer, Durability, Lease, RecordsBackend, Retry, SqliteLease, SqliteOptions, SqliteRecords,
};
use contract::JobId;
use pollster::block_on;
use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, path] = arguments.as_slice()
        && let Some(role) = role.strip_prefix("as-")
    {
        return play(role, Path::new(path));
    }
    run("the lease of a killed process is free at once", lease_of_a_killed_holder);
    run("what was acknowledged survives kill -9", acknowledged_writes_survive);
    run("processes that open a new file at once all succeed", first_opens);
    run("a file that cannot grow fails writes and breaks nothing", full_file);
}

fn run(name: &str, test: fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    test(&folder.path().join("records.db"));
    eprintln!("test {name} ... ok");
}

fn play(role: &str, path: &Path) {
    match role {
        "holder" => {
            let lease = SqliteLease::open(path);
            say(&block_on(lease.acquire("child")).unwrap().unwrap().epoch.to_string());
            std::thread::park();
        }
        "writer" => loop_creating(&open(path)),
        "opener" => {
            let records = open(path);
            assert_eq!(block_on(records.create(&fx::new_job())), Ok(CreateAnswer::Created));
        }
        "limited" => limited(path),
        role => panic!("no role {role}"),
    }
}

fn open(path: &Path) -> Arc<SqliteRecords> {
    let options = SqliteOptions { durability: Durability::Process, access: Access::Orchestrator };
    SqliteRecords::open(path, options).unwrap()
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

fn loop_creating(records: &SqliteRecords) {
    loop {
        let new = fx::new_job();
        assert_eq!(block_on(records.create(&new)), Ok(CreateAnswer::Created));
        say(new.job_id.as_str());
    }
}

/// A child that is killed at the end, whatever happens.
struct Victim(Child);

impl Victim {
    fn start(role: &str, path: &Path) -> Self {
        let me = std::env::current_exe().unwrap();
        let role = format!("as-{role}");
        Self(Command::new(me).arg(role).arg(path).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lease_of_a_killed_holder(path: &Path) {
    let mut holder = Victim::start("holder", path);
    let epoch: u64 = holder.lines().next().unwrap().parse().unwrap();
    let lease = SqliteLease::open(path);
    assert_eq!(block_on(lease.acquire("parent")).unwrap(), None);
    let view = block_on(lease.view()).unwrap().unwrap();
    assert_eq!((view.holder.as_str(), view.epoch, view.released), ("child", epoch, false));
    holder.kill();
    let held = block_on(lease.acquire("parent")).unwrap().expect("the lease is free");
    assert_eq!(held.epoch, epoch + 1);
    assert!(block_on(lease.renew()).unwrap());
    // Somebody who removes the lock file takes the lease away, and then it is no longer ours.
    std::fs::remove_file(format!("{}.lease", path.display())).unwrap();
    assert!(!block_on(lease.renew()).unwrap());
    let other = SqliteLease::open(path);
    let next = block_on(other.acquire("other")).unwrap().expect("the lease is free");
    assert_eq!(next.epoch, epoch + 2);
    assert_eq!(block_on(lease.acquire("parent")).unwrap(), None);
}

fn acknowledged_writes_survive(path: &Path) {
    let mut acknowledged = Vec::new();
    for round in 1..=6 {
        let mut writer = Victim::start("writer", path);
        let lines = writer.lines();
        for line in lines {
            acknowledged.push(JobId::new(line).unwrap());
            if acknowledged.len() == round * 37 {
                writer.kill();
            }
        }
    }
    assert!(acknowledged.len() >= 6 * 37);
    let records = open(path);
    for job_id in &acknowledged {
        assert!(block_on(records.job(job_id)).unwrap().is_some(), "{job_id} is lost");
    }
    assert_eq!(integrity(path), "ok");
}

fn integrity(path: &Path) -> String {
    Connection::open(path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

fn first_opens(path: &Path) {
    for round in 0..3 {
        let path = path.with_file_name(format!("{round}.db"));
        let mut openers: Vec<_> = (0..4).map(|_| Victim::start("opener", &path)).collect();
        for opener in &mut openers {
            assert!(opener.0.wait().unwrap().success());
        }
        assert_eq!(block_on(open(&path).list_active()).unwrap().len(), 4);
    }
}

/// The limit on the size of files makes writes fail as a full disk does; the signal that goes with it has to
/// be ignored, which only a parent can arrange without unsafe code.
fn full_file(path: &Path) {
    drop(open(path));
    let me: PathBuf = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; exec \"$0\" as-limited \"$1\"";
    let status = Command::new("sh").args(["-c", script]).arg(me).arg(path).status().unwrap();
    assert!(status.success());
    assert_eq!(integrity(path), "ok");
}

fn limited(path: &Path) {
    let records = open(path);
    let before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(300_000), ..before }).unwrap();
    let mut created = Vec::new();
    let (lost, error) = loop {
        let new = fx::new_job();
        match block_on(records.create(&new)) {
            Ok(answer) => assert_eq!(answer, CreateAnswer::Created),
            Err(error) => break (new, error),
        }
        created.push(new.job_id);
        assert!(created.len() < 10_000, "the limit is never met");
    };
    assert!(matches!(error.retry(), Retry::Later | Retry::Uncertain), "{error:?}");
    assert!(created.len() > 3);
    for job_id in &created {
        assert!(block_on(records.job(job_id)).unwrap().is_some(), "{job_id} is lost");
    }
    setrlimit(Resource::Fsize, before).unwrap();
    // Whatever became of the failed write, the same one again settles it.
    assert_eq!(block_on(records.create(&lost)), Ok(CreateAnswer::Created));
    assert_eq!(block_on(records.list_active()).unwrap().len(), created.len() + 1);
}
