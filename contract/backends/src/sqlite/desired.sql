-- Schema version 3: what a write of `desired` is checked for, by words and types. `updated` is the API's note of
-- who changed the rest last: of any type, because nothing decides on it. `retry` only grows, so a number beyond its range
-- is refused: it could not be taken back. One that is there already (version 2 accepted it) may be.
DROP TRIGGER IF EXISTS jobs_desired;

-- The first text names the words, the second the types of those that have more than a wrong value.
CREATE TRIGGER jobs_desired AFTER UPDATE OF desired ON jobs
BEGIN
  SELECT CASE
    WHEN key GLOB '*[^a-z_]*' OR instr(' job_type payload max_attempts attempt_timeout_seconds start_timeout_seconds active_deadline_seconds backoff failure_policy priority queue resources capacity env labels ttl_seconds_after_finished max_cost_usd suspend cancel retry updated ', ' ' || key || ' ') = 0
      THEN RAISE(ABORT, 'desired holds an unknown word; known are job_type payload max_attempts attempt_timeout_seconds start_timeout_seconds active_deadline_seconds backoff failure_policy priority queue resources capacity env labels ttl_seconds_after_finished max_cost_usd suspend cancel retry')
    WHEN key IN ('suspend', 'cancel') AND type NOT IN ('true', 'false')
      THEN RAISE(ABORT, 'desired.suspend and desired.cancel must be true or false; in SQL write json(''true'')')
    WHEN key = 'retry' AND type <> 'integer'
      THEN RAISE(ABORT, 'desired.retry must be a whole number')
    WHEN key = 'retry' AND value > 1000000000
      THEN RAISE(ABORT, 'desired.retry is at most 1000000000')
    WHEN type <> 'null' AND key NOT IN ('payload', 'suspend', 'cancel', 'updated') AND instr(' job_type:text max_attempts:integer attempt_timeout_seconds:integer start_timeout_seconds:integer active_deadline_seconds:integer backoff:object failure_policy:object priority:integer queue:text resources:object capacity:text env:object labels:object ttl_seconds_after_finished:integer max_cost_usd:integer max_cost_usd:real retry:integer ', ' ' || key || ':' || type || ' ') = 0
      THEN RAISE(ABORT, 'desired holds a value of the wrong type: job_type, queue and capacity are strings; max_attempts, priority and what is named in seconds are whole numbers; max_cost_usd is a number; backoff, failure_policy, resources, env and labels are objects')
    END FROM json_each(NEW.desired);
  SELECT RAISE(ABORT, 'desired holds a word twice') FROM json_each(NEW.desired) GROUP BY key HAVING count(*) > 1;
  SELECT CASE
    WHEN json_type(NEW.desired, '$.job_type') IS NOT 'text' THEN RAISE(ABORT, 'desired.job_type must be a string')
    WHEN NOT json_valid(OLD.desired) THEN 0
    WHEN NEW.desired ->> 'job_type' IS NOT OLD.desired ->> 'job_type' THEN RAISE(ABORT, 'desired.job_type never changes: create another job')
    WHEN OLD.desired ->> 'retry' > 1000000000 THEN 0
    WHEN coalesce(NEW.desired ->> 'retry', 0) < coalesce(OLD.desired ->> 'retry', 0) THEN RAISE(ABORT, 'desired.retry only grows')
    END;
END;
