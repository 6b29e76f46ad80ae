#!/usr/bin/env python3
"""Counts the words of a text and quotes its first sentence.

An example of an agent in Python, with nothing but the standard library. The payload is
{"text": "...", "top": 5}; "top" (default 5) is how many of the most frequent words to name.
"""

import collections
import csv
import json
import os
import pathlib
import re
import sys


def main() -> int:
    payload = json.loads(pathlib.Path(os.environ["AGENT_RUNNER_PAYLOAD"]).read_text(encoding="utf-8"))
    text = payload.get("text") if isinstance(payload, dict) else None
    if not isinstance(text, str):
        print('the payload needs a "text", as in {"text": "A sentence. Another one."}', file=sys.stderr)
        return 2

    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())
    counts = collections.Counter(words)
    first = re.search(r"\S.*?(?:[.!?…](?=\s|$)|$)", text, re.DOTALL)
    print(f"job {os.environ['AGENT_RUNNER_JOB_ID']}, attempt {os.environ['AGENT_RUNNER_ATTEMPT']}:"
          f" {len(words)} words, {len(counts)} different ones")

    table = pathlib.Path(os.environ["AGENT_RUNNER_ARTIFACTS"], "words.csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["word", "count"])
        writer.writerows(counts.most_common())

    result = {
        "first_sentence": " ".join(first.group().split()) if first else "",
        "characters": len(text),
        "words": len(words),
        "different_words": len(counts),
        "most_frequent": dict(counts.most_common(int(payload.get("top", 5)))),
    }
    pathlib.Path(os.environ["AGENT_RUNNER_RESULT"]).write_text(
        json.dumps(result, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
