"""Compares what the records say with what agents wrote down outside of the system (ledger-agent.sh).

`mistakes(jobs, lines)` has no I/O: `jobs` is a list of `Job`, `lines` the lines of the ledger. It answers with a
sentence for each promise that was broken.
"""

import dataclasses


@dataclasses.dataclass
class Job:
    """A job that was accepted, as the API shows it once it has ended."""

    job_id: str
    expected: str
    status: str
    # (number, whether its gate was passed, whether it is closed, its verdict in one word) of each attempt
    attempts: list
    result: object = None


@dataclasses.dataclass
class Line:
    """A line of the ledger: start, end, told or overlap."""

    event: str
    job_id: str
    attempt: int
    host: str
    at: int


def read(text):
    """The lines of a ledger. One that cannot be read is an error: the judge must not overlook any."""
    lines = []
    for line in text.splitlines():
        event, job_id, attempt, host, at = line.split(" ")
        if event not in ("start", "end", "told", "overlap"):
            raise ValueError(f"not a line of a ledger: {line!r}")
        lines.append(Line(event, job_id, int(attempt), host, int(at)))
    return lines


def mistakes(jobs, lines):
    """What the promises do not allow."""
    found = []
    executions = {}
    for line in lines:
        executions.setdefault(line.job_id, {}).setdefault(line.attempt, []).append(line)
        if line.event == "overlap":
            found.append(f"attempt {line.attempt} of {line.job_id} met another agent of its job alive")
    for job_id, of_job in executions.items():
        found += executed_wrongly(job_id, of_job)
    for job in jobs:
        found += ended_wrongly(job, executions.get(job.job_id, {}))
    for job_id in executions.keys() - {job.job_id for job in jobs}:
        found.append(f"{job_id} was executed, and nobody has submitted it")
    return found


def executed_wrongly(job_id, of_job):
    """No attempt twice, and none before the one before has ended."""
    found = []
    until = 0
    for number, lines in sorted(of_job.items()):
        starts = [line.at for line in lines if line.event == "start"]
        if len(starts) != 1:
            found.append(f"attempt {number} of {job_id} was started {len(starts)} times")
        if starts and min(starts) < until:
            found.append(f"attempt {number} of {job_id} was started before the one before had ended")
        # One that was killed wrote no end; its lock tells whether it was alive when the next one started.
        until = max([until] + [line.at for line in lines])
    return found


def ended_wrongly(job, of_job):
    """Accepted jobs end as they have to, and each execution is on record."""
    found = []
    if job.status != job.expected:
        found.append(f"{job.job_id} is {job.status} and not {job.expected}")
    # A draft whose claim was lost never starts and may have the number of another.
    numbers = [number for number, started, _, _ in job.attempts if started]
    if len(set(numbers)) != len(numbers):
        found.append(f"{job.job_id} has attempts with one number: {numbers}")
    for number, _, closed, verdict in job.attempts:
        if not closed:
            found.append(f"attempt {number} of {job.job_id} is open after the end of its job")
        if verdict == "succeeded" and not any(line.event == "end" for line in of_job.get(number, [])):
            found.append(f"attempt {number} of {job.job_id} succeeded, and its agent did not end")
    for number in of_job.keys() - set(numbers):
        found.append(f"attempt {number} of {job.job_id} was executed without passing a gate")
    if job.status == "SUCCEEDED":
        succeeded = [number for number, _, _, verdict in job.attempts if verdict == "succeeded"]
        accepted = max(succeeded, default=None)
        if job.result != {"job_id": job.job_id, "attempt": accepted}:
            found.append(f"the result of {job.job_id} is {job.result}, and attempt {accepted} succeeded")
    return found
