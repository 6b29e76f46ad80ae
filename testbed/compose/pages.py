"""Types what the pages say about the stack: every block marked `sh compose`.

    pages.py documents <tree> <base> [<services>...]   README.md and docs/, from an engine without the stack
    pages.py runbooks <tree> <base> <workers>          runbooks/, beside the stack with so many workers

`tree` is a copy of this repository. Variables name the project and its settings; the services are named where not all
of the profile can be started. Whatever a page leaves running is ended.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import blocks
import jobs
from client import Client

# One command, a build with caches among them.
COMMAND_SECONDS = 120
# From a command to the state that it is for.
STATE_SECONDS = 60
# How long a job of a runbook runs, so that its commands are typed meanwhile; where images are built, that takes longer.
RUNNING_SECONDS = 5
RUNNING_WHILE_BUILT_SECONDS = 14
BUILDS = "docker compose -f compose/docker-compose.yml build\n"
# What is true of the job that $JOB_ID names after a command.
LEADS_TO = {
    "retry.lua": '.attempt == 2 and .status == "SUCCEEDED"',
    "word_count": '.status == "SUCCEEDED" and .result.words == 6 and .result.most_frequent[0] == ["to", 2]',
}


def until(what, look, seconds=STATE_SECONDS):
    """Waits until `look` answers with something true, and answers with that."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise SystemExit(f"pages: not within {seconds} s: {what}")
        time.sleep(0.2)
    return seen


class Stack:
    """The stack that the commands work on."""

    def __init__(self, tree, base):
        self.tree, self.base, self.client = pathlib.Path(tree), base, Client(base)
        self.environment = dict(os.environ)
        # Those that go on until Ctrl-C, and what they say.
        self.endless = []

    def containers(self):
        """Service, state, health and image of each container."""
        command = ["docker", "ps", "--all", "--no-trunc", "--format", "{{.ID}}", "--filter",
                   f"label=com.docker.compose.project={os.environ['COMPOSE_PROJECT_NAME']}"]
        ids = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        # One that is removed meanwhile is none.
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=False).stdout if ids else "[]"
        return [
            (one["Config"]["Labels"]["com.docker.compose.service"], one["State"]["Status"],
             one["State"].get("Health", {}).get("Status"), one["Image"])
            for one in json.loads(shown)
        ]

    def healthy(self, workers, watched=()):
        """Waits until the stack works with so many workers."""
        wanted = sorted(["api", "reconciler", "redis", *watched] + ["worker"] * workers)

        def look():
            # What belongs to the profile may have been started by another page.
            now = [one for one in self.containers() if one[0] in wanted]
            good = all(state == "running" and health == "healthy" for _, state, health, _ in now)
            return good and sorted(name for name, *_ in now) == wanted

        try:
            until(f"{workers} workers", look)
        except SystemExit as late:
            raise SystemExit(f"{late}: {[one[:3] for one in self.containers()]}") from None

    def job(self, payload, more=None):
        """Submits an echo job and names it to the commands."""
        self.environment["JOB_ID"] = self.client.submit(f"page-{time.time_ns()}", {"job_type": "echo", "payload": payload, **(more or {})})
        return self.environment["JOB_ID"]

    def is_true(self, condition):
        """Waits until it is true of the job that is named to the commands."""
        jobs.await_job(self.client, self.environment["JOB_ID"], condition, STATE_SECONDS)

    def type_in(self, page, block, more=""):
        """Types a block and waits for its end, or until what goes on has begun."""
        print(f"typed: {page.name}, {block.section}: {block.text.strip().splitlines()[-1][:100]}", flush=True)
        said = tempfile.TemporaryFile()
        text = block.text.strip().replace("localhost:8000", self.base.removeprefix("http://")) + more
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.tree, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            # Of a shell that runs this in the background, Ctrl-C would be without effect.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.endless.append((process, block, said))
        if not block.endless:
            self.end(block, wait=True)

    def said(self, said):
        """What a command has said so far."""
        return os.pread(said.fileno(), 1 << 20, 0).decode(errors="replace")

    def end(self, block, wait=False):
        """Waits for the end of a block, after Ctrl-C where it goes on by itself; it has to be one in peace."""
        process, _, said = next(one for one in self.endless if one[1] is block)
        self.endless = [one for one in self.endless if one[1] is not block]
        if not wait and process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            code = process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = f"not ended within {COMMAND_SECONDS} s"
        # Ctrl-C is the end that was asked for.
        if code not in ((0,) if wait else (0, 130, -signal.SIGINT)):
            raise SystemExit(f"pages: {code}\n{block.text}--- said\n{self.said(said)[-4000:]}")
        if block.section == "Diagnosis" and not self.said(said).strip():
            raise SystemExit(f"pages: who asks what is wrong is told nothing\n{block.text}")

    def finish(self):
        """Ends what goes on."""
        for process, *_ in self.endless:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process, *_ in self.endless:
            try:
                process.wait(STATE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def follow(stack, block):
    """A log that is followed says something, and ends with Ctrl-C."""
    _, _, said = stack.endless[-1]
    until(f"something said by {block.text}", lambda: stack.said(said).strip())
    stack.end(block)


def document(stack, page, services):
    """Types the commands of a document, in order."""
    up = None
    for block in page.blocks:
        if "$JOB_ID" in block.text:
            stack.job({"message": page.name})
            stack.is_true('.status == "SUCCEEDED"')
        if block.endless and " up " in block.text:
            # Whoever starts it anew has ended it before.
            if up:
                stack.end(up)
            up = block
            profile = "--profile observability" in block.text
            stack.type_in(page, block, "".join(f" {name}" for name in services) if profile else "")
            watched = set(services or ["prometheus", "grafana"]) & {"prometheus", "grafana"}
            stack.healthy(5, watched if profile else ())
        else:
            stack.type_in(page, block)
            if block.endless:
                follow(stack, block)
        if '-d \'{"job_type"' in block.text:
            stack.environment["JOB_ID"] = stack.client.insist("/jobs?limit=1")["jobs"][0]["job_id"]
            stack.is_true('.status == "SUCCEEDED"')
        for part, condition in LEADS_TO.items():
            if part in block.text:
                stack.is_true(condition)
        if " down" in block.text:
            until("nothing of the stack runs", lambda: not stack.containers())
            if up:
                stack.end(up, wait=True)
                up = None
        if "--scale worker=2" in block.text:
            stack.healthy(2)
    if up:
        stack.end(up)
        until("Ctrl-C ends everything", lambda: all(state != "running" for _, state, *_ in stack.containers()))


def documents(stack, *services):
    """README.md and docs/."""
    typed = set()
    for page in blocks.pages(stack.tree):
        if not page.front:
            # What stands in two documents is typed once.
            page.blocks = [block for block in page.blocks if block.text not in typed]
            document(stack, page, services)
            typed.update(block.text for block in page.blocks)
    print(f"pages: {len(typed)} blocks of documents")


def prepare(stack, page, workers):
    """The job that a runbook is about, and what has happened to the stack."""
    kind = page.front.get("job", "none")
    seconds = RUNNING_WHILE_BUILT_SECONDS if any(BUILDS in block.text for block in page.blocks) else RUNNING_SECONDS
    if kind == "running":
        stack.job({"sleep_seconds": seconds})
        stack.is_true('.status == "RUNNING"')
    elif kind == "held":
        stack.job({}, {"suspend": True})
        stack.is_true('.reason == "Suspended"')
    elif kind == "waiting":
        for _ in range(workers):
            stack.job({"sleep_seconds": RUNNING_SECONDS})
            stack.is_true('.status == "RUNNING"')
        stack.job({})
        stack.is_true('.reason == "WaitingForQuota"')
    else:
        raise SystemExit(f"pages: {page.name}: no such job beside the stack: {kind}")
    if page.front.get("orchestrator") == "killed":
        # By the engine's own verb, so that it starts nothing again.
        subprocess.run(["docker", "compose", "-f", "compose/docker-compose.yml", "kill", "api", "reconciler"],
                       cwd=stack.tree, check=True, capture_output=True)


def another_version(stack):
    """Programs that do the same and are not the same."""
    for program in ("api", "reconciler", "worker"):
        with open(stack.tree / f"compose/prebuilt/agent-runner-{program}", "ab") as file:
            file.write(b"\n")
    return {(name, image) for name, _, _, image in stack.containers() if name in ("api", "reconciler", "worker")}


def runbooks(stack, workers):
    """What operators are told to type; the state at the end is what the lines on top of a page say.

    Jobs are looked at when all has been typed, so that nobody waits for their end in between.
    """
    performed, concerned = 0, []
    for page in blocks.pages(stack.tree):
        if not page.front:
            continue
        prepare(stack, page, int(workers))
        before = set()
        for block in page.blocks:
            if BUILDS in block.text:
                before = another_version(stack)
            stack.type_in(page, block)
            performed += 1
        # Nothing is missing that was there.
        stack.healthy(int(workers))
        same = before & {(name, image) for name, _, _, image in stack.containers()}
        if same:
            raise SystemExit(f"pages: {page.name}: still the version of before: {sorted(same)}")
        concerned.append((page, stack.environment["JOB_ID"]))
    for page, stack.environment["JOB_ID"] in concerned:
        stack.is_true(f'.status == "{page.front["after"]}"')
        attempts = len(stack.client.attempts(stack.environment["JOB_ID"]))
        if attempts != int(page.front.get("attempts", attempts)):
            raise SystemExit(f"pages: {page.name}: {attempts} attempts")
    print(f"pages: {performed} blocks of runbooks")


def main():
    verb, tree, base, *rest = sys.argv[1:]
    stack = Stack(tree, base)
    try:
        {"documents": documents, "runbooks": runbooks}[verb](stack, *rest)
    finally:
        stack.finish()


if __name__ == "__main__":
    main()
