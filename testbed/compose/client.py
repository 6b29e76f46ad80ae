"""A client of the HTTP API that goes on through the death of what it talks to."""

import json
import time
import urllib.error
import urllib.request

# How long a part may be away: it is restarted, and its store loads.
PATIENCE_SECONDS = 30


class Client:
    """Talks to the API at `base`, as in `http://localhost:8000`."""

    def __init__(self, base):
        self.base = base

    def ask(self, path, body=None, headers=None, seconds=10):
        """Status and body of one request; without an answer `(0, why)`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            # No connection, one that broke, half a body.
            return 0, str(error)

    def insist(self, path, body=None, headers=None):
        """The body of the answer, asked for again while nobody or a 5xx answers."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, answer = self.ask(path, body, headers)
            if 200 <= status < 300:
                return answer
            if 0 < status < 500 or time.monotonic() > until:
                raise SystemExit(f"{path}: {status} {answer}")
            time.sleep(0.1)

    def submit(self, key, job):
        """Submits a job once, whatever happens to the answers; its id."""
        return self.insist("/jobs", job, {"Idempotency-Key": key})["job_id"]

    def job(self, job_id):
        """One job."""
        return self.insist(f"/jobs/{job_id}")

    def attempts(self, job_id):
        """The attempts of a job."""
        return self.insist(f"/jobs/{job_id}/attempts")["attempts"]
