-- Schema version 1, without the trigger that desired.sql makes. Every worker parses these texts when it opens the file (some 100 µs), so they are terse:
-- few triggers, and comments stand between the statements, where SQLite does not store them. The system's
-- sqlite3 must be able to read them too (3.40: the message of RAISE() is a literal, there is no jsonb).
--
-- The system's own writes of `jobs` set a new `revision` themselves; a write that leaves it alone comes
-- from outside and is completed by the triggers.

-- `last` is the newest revision, one counter for the whole file, so that a job that was deleted and created
-- again never repeats one. `changes` is complete above `pruned`.
CREATE TABLE revisions (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last INTEGER NOT NULL,
  pruned INTEGER NOT NULL
) STRICT;
INSERT INTO revisions VALUES (1, 0, 0);

-- What the change feed reads: creations, edits of `desired`, moves of a gate, everything edited by hand.
CREATE TABLE changes (revision INTEGER PRIMARY KEY, job_id TEXT NOT NULL) STRICT;

CREATE TABLE lease (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch INTEGER NOT NULL,
  holder TEXT NOT NULL,
  renewed_at INTEGER NOT NULL,
  released INTEGER NOT NULL
) STRICT;

-- `seq` is the order of creation. `expires_at` is `control.expires_at` in milliseconds.
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL UNIQUE,
  created TEXT NOT NULL,
  desired TEXT NOT NULL,
  control TEXT,
  status TEXT,
  active INTEGER NOT NULL DEFAULT 1,
  expires_at INTEGER,
  revision INTEGER NOT NULL DEFAULT 0,
  CONSTRAINT "job_id must be 1 to 64 of a-z, 0-9 and '-', not starting with '-'" CHECK (job_id GLOB '[a-z0-9]*' AND job_id NOT GLOB '*[^a-z0-9-]*' AND length(job_id) <= 64),
  CONSTRAINT "created must be one JSON object" CHECK (json_valid(created) AND json_type(created) = 'object'),
  CONSTRAINT "desired must be one JSON object" CHECK (json_valid(desired) AND json_type(desired) = 'object'),
  CONSTRAINT "control must be one JSON object" CHECK (control IS NULL OR json_valid(control) AND json_type(control) = 'object'),
  CONSTRAINT "status must be one JSON object" CHECK (status IS NULL OR json_valid(status) AND json_type(status) = 'object'),
  CONSTRAINT "active must be 0 or 1" CHECK (active IN (0, 1))
) STRICT;

-- Covers what the resync reads. Finished jobs are not in it.
CREATE INDEX jobs_active ON jobs (job_id, revision, active) WHERE active = 1;
CREATE INDEX jobs_expiring ON jobs (expires_at, job_id) WHERE expires_at IS NOT NULL;

-- The unique index also finds the attempts of a job.
CREATE TABLE attempts (
  seq INTEGER PRIMARY KEY,
  job_id TEXT NOT NULL,
  token TEXT NOT NULL,
  number INTEGER NOT NULL,
  claim TEXT NOT NULL,
  gate TEXT,
  report TEXT,
  closing TEXT,
  UNIQUE (job_id, token),
  CONSTRAINT "claim must be one JSON object" CHECK (json_valid(claim) AND json_type(claim) = 'object'),
  CONSTRAINT "gate must be one JSON object whose state is started, finished or sealed" CHECK (gate IS NULL OR (json_valid(gate) AND gate ->> 'state' IN ('started', 'finished', 'sealed')) IS TRUE),
  CONSTRAINT "report must be one JSON object" CHECK (report IS NULL OR json_valid(report) AND json_type(report) = 'object'),
  CONSTRAINT "closing must be one JSON object" CHECK (closing IS NULL OR json_valid(closing) AND json_type(closing) = 'object')
) STRICT;

-- REPLACE would delete the old row without any trigger.
CREATE TRIGGER jobs_new BEFORE INSERT ON jobs
WHEN EXISTS (SELECT 1 FROM jobs WHERE job_id = NEW.job_id OR seq = NEW.seq)
BEGIN
  SELECT RAISE(ABORT, 'this job exists: use UPDATE');
END;

-- A job inserted by hand passes the checks of an edit.
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs WHEN NEW.revision = 0
BEGIN
  UPDATE jobs SET desired = desired WHERE seq = NEW.seq;
END;

-- What the system's own writes do themselves.
CREATE TRIGGER jobs_edited AFTER UPDATE OF seq, job_id, created, desired, control, status, active, expires_at ON jobs
WHEN NEW.revision = OLD.revision
BEGIN
  SELECT RAISE(ABORT, 'seq, job_id and created never change') WHERE (NEW.seq, NEW.job_id, NEW.created) IS NOT (OLD.seq, OLD.job_id, OLD.created);
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions), active = (NEW.active = OLD.active OR NEW.active) WHERE seq = NEW.seq;
  INSERT INTO changes SELECT last, NEW.job_id FROM revisions;
END;

CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs
BEGIN
  SELECT RAISE(ABORT, 'this job has an attempt that may be alive: cancel the job and wait until it has ended')
    FROM attempts WHERE job_id = OLD.job_id AND closing IS NULL;
  DELETE FROM attempts WHERE job_id = OLD.job_id;
  UPDATE revisions SET last = last + 1;
  INSERT INTO changes SELECT last, OLD.job_id FROM revisions;
END;

CREATE TRIGGER attempts_new BEFORE INSERT ON attempts
BEGIN
  SELECT RAISE(ABORT, 'this attempt exists') FROM attempts WHERE (job_id = NEW.job_id AND token = NEW.token) OR seq = NEW.seq;
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions) WHERE job_id = NEW.job_id;
  SELECT RAISE(ABORT, 'there is no such job') WHERE changes() = 0;
END;

-- The gate only moves forward and keeps the task that started; one whose state is not known may be repaired.
CREATE TRIGGER attempts_changed AFTER UPDATE ON attempts
BEGIN
  SELECT CASE
    WHEN (NEW.seq, NEW.job_id, NEW.token, NEW.number, NEW.claim) IS NOT (OLD.seq, OLD.job_id, OLD.token, OLD.number, OLD.claim)
      THEN RAISE(ABORT, 'an attempt''s key, number and claim never change')
    WHEN NEW.gate IS NOT OLD.gate AND CASE OLD.gate ->> 'state'
        WHEN 'started' THEN coalesce(NEW.gate ->> 'state', 'started') = 'started' OR coalesce(NEW.gate ->> 'task', NEW.gate ->> 'started') IS NOT OLD.gate ->> 'task'
        WHEN 'finished' THEN 1 WHEN 'sealed' THEN 1
        ELSE OLD.gate IS NULL AND NEW.gate ->> 'state' = 'finished' END
      THEN RAISE(ABORT, 'the gate of an attempt only moves forward: absent, started, finished; or sealed, keeping the task that started')
    WHEN NEW.closing IS NOT OLD.closing AND OLD.closing IS NOT NULL
      THEN RAISE(ABORT, 'the closing of an attempt is written once')
    WHEN NEW.closing IS NOT OLD.closing AND coalesce(NEW.gate ->> 'state', '') NOT IN ('finished', 'sealed')
      THEN RAISE(ABORT, 'an attempt is closed only after its gate is finished or sealed')
    END;
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions) WHERE job_id = NEW.job_id;
  INSERT INTO changes SELECT last, NEW.job_id FROM revisions WHERE NEW.gate IS NOT OLD.gate;
END;

CREATE TRIGGER attempts_delete BEFORE DELETE ON attempts
WHEN EXISTS (SELECT 1 FROM jobs WHERE job_id = OLD.job_id)
BEGIN
  SELECT RAISE(ABORT, 'attempts are the ledger of what may be alive: they are deleted with their job');
END;
