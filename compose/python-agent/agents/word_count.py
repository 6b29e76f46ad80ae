"""Counts the words of a text: {"text": "to be or not to be"}."""

import collections
import json
import os
import pathlib
import platform

payload = json.loads(pathlib.Path(os.environ["AGENT_RUNNER_PAYLOAD"]).read_text(encoding="utf-8"))
counts = collections.Counter(payload["text"].split())
print(f"Python {platform.python_version()}: {counts.total()} words")
result = {"words": counts.total(), "most_frequent": counts.most_common(3)}
pathlib.Path(os.environ["AGENT_RUNNER_RESULT"]).write_text(json.dumps(result), encoding="utf-8")
