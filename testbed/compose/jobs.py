"""Jobs for scripts/compose-test:

    jobs.py load <base> <accepted> <count>        submits `count` jobs of the mix below, RATE a second
    jobs.py submit <base> <accepted> <payload>    submits one ledger job and prints its id
    jobs.py settle <base> <accepted> <seconds>    waits until all accepted jobs have ended
    jobs.py settle-echo <base> <count>            waits until so many echo jobs have succeeded
    jobs.py await <base> <id> <jq filter>         waits until the filter is true of a job
    jobs.py expect <base> <id> <jq filter>        the same without waiting
    jobs.py verdict <base> <accepted> <ledger> <report>

`accepted` is a file with a line `{"job_id", "expected"}` for each job that was answered with 2xx.
"""

import collections
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import time

import judge
from client import Client

# Jobs per second: about what five workers get through, so that there is a queue when some of them are away.
RATE = 6
# How long one job may take to change.
AWAIT_SECONDS = 45
BACKOFF = {"initial_seconds": 1, "factor": 2, "max_seconds": 2}


def of_the_mix(n):
    """The n-th job: payload, further fields, and how it has to end."""
    if n % 20 == 3:
        return {"sleep": 0.1, "fail_times": 9}, {"max_attempts": 2}, "FAILED"
    if n % 10 == 5:
        return {"sleep": 0.1, "fail_times": 1}, {}, "SUCCEEDED"
    if n % 10 == 7:
        return {"sleep": 2}, {}, "SUCCEEDED"
    return {"sleep": round(n % 7 / 10, 1)}, {}, "SUCCEEDED"


def accept(client, accepted, key, payload, fields, expected):
    """Submits a ledger job and notes that it was accepted."""
    job_id = client.submit(key, {"job_type": "ledger", "payload": payload, "backoff": BACKOFF, **fields})
    with open(accepted, "a", encoding="utf-8") as file:
        file.write(json.dumps({"job_id": job_id, "expected": expected}) + "\n")
    return job_id


def load(client, accepted, count):
    """Submits the mix. A thread that waits for an answer does not hold the others up."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = []
        for n in range(int(count)):
            time.sleep(max(0, start + n / RATE - time.monotonic()))
            waiting.append(pool.submit(accept, client, accepted, f"load-{n}", *of_the_mix(n)))
        for one in waiting:
            one.result()
    print(f"load: {count} jobs in {time.monotonic() - start:.1f} s")


def submit(client, accepted, payload):
    """One more job, before all others."""
    print(accept(client, accepted, f"one-{time.time_ns()}", json.loads(payload), {"priority": 10}, "SUCCEEDED"))


def read(accepted):
    """The accepted jobs."""
    return [json.loads(line) for line in pathlib.Path(accepted).read_text(encoding="utf-8").splitlines()]


def ended(job):
    return job["status"] in ("SUCCEEDED", "FAILED")


def settle(client, accepted, seconds):
    """Waits for the end of all jobs."""
    until = time.monotonic() + float(seconds)
    waiting = [job["job_id"] for job in read(accepted)]
    while waiting:
        job = client.insist(f"/jobs/{waiting[0]}?wait=2s")
        if ended(job):
            waiting.pop(0)
        elif time.monotonic() > until:
            words = {key: job.get(key) for key in ("job_id", "status", "reason", "message", "attempt")}
            raise SystemExit(f"{len(waiting)} jobs have not ended, the first: {words}")


def settle_echo(client, count):
    """Waits for the jobs of the README."""
    until = time.monotonic() + AWAIT_SECONDS
    while True:
        jobs = client.insist("/jobs?job_type=echo&limit=100")["jobs"]
        good = [job for job in jobs if job["status"] == "SUCCEEDED"]
        if len(good) == int(count) == len(jobs):
            break
        if time.monotonic() > until:
            raise SystemExit(f"{len(good)} of {len(jobs)} echo jobs have succeeded, not {count}")
        time.sleep(0.1)
    for job in good:
        payload = client.job(job["job_id"])["result"]["payload"]
        if "message" not in payload and "n" not in payload:
            raise SystemExit(f"the result of {job['job_id']} does not hold its payload: {payload}")
    print(f"readme: {count} jobs have succeeded with their results")


def holds(job, condition):
    """Whether a jq filter is true of a job."""
    return subprocess.run(["jq", "-e", condition], input=json.dumps(job), text=True, capture_output=True).returncode == 0


def await_job(client, job_id, condition, seconds=AWAIT_SECONDS):
    """Waits until the filter is true of a job."""
    until = time.monotonic() + seconds
    while True:
        job = client.job(job_id)
        if holds(job, condition):
            return
        if time.monotonic() > until:
            words = {key: job.get(key) for key in ("status", "reason", "message", "attempt")}
            raise SystemExit(f"{job_id} is not {condition}: {words}")
        time.sleep(0.1)


def closing_word(attempt):
    """The verdict of an attempt in one word, and its cause."""
    closing = attempt.get("closing")
    verdict = closing["verdict"] if closing else "open"
    if isinstance(verdict, str):
        return verdict, verdict
    (word, facts), = verdict.items()
    return word, facts.get("class") or facts.get("why") or word


def as_judged(client, accepted, causes):
    """What the judge has to know of a job."""
    job = client.job(accepted["job_id"])
    attempts = []
    for attempt in client.attempts(job["job_id"]):
        word, cause = closing_word(attempt)
        causes[cause] += 1
        gate = attempt["gate"] or {}
        started = bool(gate.get("task") or gate.get("started"))
        attempts.append((attempt["number"], started, attempt["state"] == "closed", word))
    return judge.Job(job["job_id"], accepted["expected"], job["status"], attempts, job.get("result"))


def verdict(client, accepted, ledger, report):
    """Judges everything, says what was looked at, and fails if a promise was broken."""
    causes = collections.Counter()
    jobs = [as_judged(client, one, causes) for one in read(accepted)]
    lines = judge.read(pathlib.Path(ledger).read_text(encoding="utf-8"))
    found = judge.mistakes(jobs, lines)
    executions = sum(line.event == "start" for line in lines)
    pathlib.Path(report).write_text(json.dumps({"causes": causes, "mistakes": found}, indent=1), encoding="utf-8")
    print(f"verdict: {len(jobs)} jobs, {sum(causes.values())} attempts "
          f"({', '.join(f'{cause} {n}' for cause, n in sorted(causes.items()))}), {executions} executions")
    if found:
        raise SystemExit("broken promises:\n" + "\n".join(found))
    # Workers that were killed and came back have to be of use again.
    if causes["TaskFailedToStart"] + causes["CommandNotStarted"]:
        raise SystemExit("workers took attempts that they could not start")
    if not causes["WorkerLost"]:
        raise SystemExit("no attempt was lost, although a worker was killed in the middle of one")


def main():
    verb, base, *rest = sys.argv[1:]
    verbs = {
        "load": load,
        "submit": submit,
        "settle": settle,
        "settle-echo": settle_echo,
        "await": await_job,
        "expect": lambda client, job_id, condition: await_job(client, job_id, condition, 0),
        "verdict": verdict,
    }
    verbs[verb](Client(base), *rest)


if __name__ == "__main__":
    main()
