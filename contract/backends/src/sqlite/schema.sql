-- Schema version 1. Every process that opens the file parses these texts, so they are kept short: comments
-- stand between the statements, where SQLite does not store them. The system's sqlite3 must be able to read
-- them too (3.40: the message of RAISE() is a literal, there is no jsonb).
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
  CONSTRAINT "gate must be one JSON object whose state is started, finished or sealed" CHECK (gate IS NULL OR (json_valid(gate) AND json_extract(gate, '$.state') IN ('started', 'finished', 'sealed')) IS TRUE),
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

CREATE TRIGGER jobs_desired AFTER UPDATE OF desired ON jobs
BEGIN
  SELECT RAISE(ABORT, 'desired holds an unknown word; known are job_type, payload, max_attempts, attempt_timeout_seconds, start_timeout_seconds, active_deadline_seconds, backoff, failure_policy, priority, queue, resources, capacity, env, labels, ttl_seconds_after_finished, max_cost_usd, suspend, cancel, retry')
    FROM json_each(NEW.desired) WHERE key NOT IN ('job_type', 'payload', 'max_attempts', 'attempt_timeout_seconds', 'start_timeout_seconds', 'active_deadline_seconds', 'backoff', 'failure_policy', 'priority', 'queue', 'resources', 'capacity', 'env', 'labels', 'ttl_seconds_after_finished', 'max_cost_usd', 'suspend', 'cancel', 'retry');
  SELECT RAISE(ABORT, 'desired holds a word twice') WHERE (SELECT count(*) - count(DISTINCT key) FROM json_each(NEW.desired)) <> 0;
  SELECT RAISE(ABORT, 'desired.job_type must be a string') WHERE json_type(NEW.desired, '$.job_type') IS NOT 'text';
  SELECT RAISE(ABORT, 'desired.suspend and desired.cancel must be true or false; in SQL write json(''true'')')
    FROM json_each(NEW.desired) WHERE key IN ('suspend', 'cancel') AND type NOT IN ('true', 'false');
  SELECT RAISE(ABORT, 'desired.retry must be a whole number') WHERE json_type(NEW.desired, '$.retry') <> 'integer';
  SELECT RAISE(ABORT, 'desired.max_attempts, priority and everything that ends in _seconds or _seconds_after_finished must be whole numbers')
    FROM json_each(NEW.desired) WHERE (key IN ('max_attempts', 'priority') OR key GLOB '*_seconds*') AND type NOT IN ('integer', 'null');
  SELECT RAISE(ABORT, 'desired.backoff, failure_policy, resources, env and labels must be objects')
    FROM json_each(NEW.desired) WHERE key IN ('backoff', 'failure_policy', 'resources', 'env', 'labels') AND type NOT IN ('object', 'null');
  SELECT RAISE(ABORT, 'desired.queue and desired.capacity must be strings')
    FROM json_each(NEW.desired) WHERE key IN ('queue', 'capacity') AND type NOT IN ('text', 'null');
  SELECT RAISE(ABORT, 'desired.job_type never changes: create another job')
    WHERE json_valid(OLD.desired) AND json_extract(NEW.desired, '$.job_type') IS NOT json_extract(OLD.desired, '$.job_type');
  SELECT RAISE(ABORT, 'desired.retry only grows')
    WHERE json_valid(OLD.desired) AND coalesce(json_extract(NEW.desired, '$.retry'), 0) < coalesce(json_extract(OLD.desired, '$.retry'), 0);
END;

CREATE TRIGGER jobs_fixed AFTER UPDATE OF seq, job_id, created ON jobs
WHEN NEW.seq IS NOT OLD.seq OR NEW.job_id IS NOT OLD.job_id OR NEW.created IS NOT OLD.created
BEGIN
  SELECT RAISE(ABORT, 'seq, job_id and created never change');
END;

CREATE TRIGGER jobs_edited AFTER UPDATE OF desired, control, status, active, expires_at ON jobs
WHEN NEW.revision = OLD.revision
BEGIN
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions), active = (NEW.active = OLD.active OR NEW.active) WHERE seq = NEW.seq;
  INSERT INTO changes SELECT last, NEW.job_id FROM revisions;
END;

CREATE TRIGGER jobs_delete BEFORE DELETE ON jobs
WHEN EXISTS (SELECT 1 FROM attempts WHERE job_id = OLD.job_id AND closing IS NULL)
BEGIN
  SELECT RAISE(ABORT, 'this job has an attempt that may be alive: cancel the job and wait until it has ended');
END;

CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs
BEGIN
  DELETE FROM attempts WHERE job_id = OLD.job_id;
  UPDATE revisions SET last = last + 1;
  INSERT INTO changes SELECT last, OLD.job_id FROM revisions;
END;

CREATE TRIGGER attempts_new BEFORE INSERT ON attempts
BEGIN
  SELECT RAISE(ABORT, 'there is no such job') WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = NEW.job_id);
  SELECT RAISE(ABORT, 'this attempt exists') WHERE EXISTS (SELECT 1 FROM attempts WHERE (job_id = NEW.job_id AND token = NEW.token) OR seq = NEW.seq);
END;

CREATE TRIGGER attempts_inserted AFTER INSERT ON attempts
BEGIN
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions) WHERE job_id = NEW.job_id;
END;

CREATE TRIGGER attempts_fixed AFTER UPDATE OF seq, job_id, token, number, claim ON attempts
WHEN NEW.seq IS NOT OLD.seq OR NEW.job_id IS NOT OLD.job_id OR NEW.token IS NOT OLD.token OR NEW.number IS NOT OLD.number OR NEW.claim IS NOT OLD.claim
BEGIN
  SELECT RAISE(ABORT, 'an attempt''s key, number and claim never change');
END;

-- The gate only moves forward and keeps the task that started. One that is not readable may be repaired.
CREATE TRIGGER attempts_gate AFTER UPDATE OF gate ON attempts
WHEN NEW.gate IS NOT OLD.gate AND CASE
  WHEN OLD.gate IS NULL THEN json_extract(NEW.gate, '$.state') = 'finished'
  WHEN NOT json_valid(OLD.gate) THEN 0
  WHEN json_extract(OLD.gate, '$.state') = 'started' THEN NEW.gate IS NULL OR json_extract(NEW.gate, '$.state') = 'started'
    OR coalesce(json_extract(NEW.gate, '$.task'), json_extract(NEW.gate, '$.started')) IS NOT json_extract(OLD.gate, '$.task')
  ELSE json_extract(OLD.gate, '$.state') IN ('finished', 'sealed') END
BEGIN
  SELECT RAISE(ABORT, 'the gate of an attempt only moves forward: absent, started, finished; or sealed, keeping the task that started');
END;

CREATE TRIGGER attempts_closing AFTER UPDATE OF closing ON attempts
WHEN NEW.closing IS NOT OLD.closing
BEGIN
  SELECT RAISE(ABORT, 'the closing of an attempt is written once') WHERE OLD.closing IS NOT NULL;
  SELECT RAISE(ABORT, 'an attempt is closed only after its gate is finished or sealed')
    WHERE coalesce(json_extract(NEW.gate, '$.state'), '') NOT IN ('finished', 'sealed');
END;

CREATE TRIGGER attempts_changed AFTER UPDATE ON attempts
BEGIN
  UPDATE revisions SET last = last + 1;
  UPDATE jobs SET revision = (SELECT last FROM revisions) WHERE job_id = NEW.job_id;
  INSERT INTO changes SELECT last, NEW.job_id FROM revisions WHERE NEW.gate IS NOT OLD.gate;
END;

CREATE TRIGGER attempts_delete BEFORE DELETE ON attempts
WHEN EXISTS (SELECT 1 FROM jobs WHERE job_id = OLD.job_id)
BEGIN
  SELECT RAISE(ABORT, 'attempts are the ledger of what may be alive: they are deleted with their job');
END;
