"""Celery with Redis as broker and as store of results.

`python echo.py <jobs>` says "ready" when it is up, and submits over eight threads when a line comes: the start of
an interpreter is not what is measured.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from celery import Celery

URL = f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}/0"
app = Celery("echo", broker=URL, backend=URL)


@app.task(name="echo")
def echo(n, payload):
    """Writes the result to a file, as an agent-runner worker does, and returns it."""
    result = {"n": n, "payload": payload}
    file = os.path.join(os.environ["PEER_FOLDER"], f"{n}.json")
    with open(file + ".part", "w", encoding="utf-8") as part:
        part.write(str(result))
    os.rename(file + ".part", file)
    return result


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: echo.delay(n, {"message": "Hello, World!"}), range(int(sys.argv[1]))))
