#!/bin/sh
# Takes the SHA-256 of its payload, byte for byte as it was submitted.
#
# An example of an agent in POSIX shell. The payload is read from stdin, the result is one JSON object, and
# the artifact `payload.sha256` can be checked with `sha256sum -c` beside a file `payload.json`.
set -eu

if command -v sha256sum >/dev/null; then
    sum=$(tee payload.json | sha256sum)
else
    sum=$(tee payload.json | shasum -a 256) # macOS
fi
sum=${sum%% *}
bytes=$(($(wc -c <payload.json)))

echo "attempt $AGENT_RUNNER_ATTEMPT of job $AGENT_RUNNER_JOB_ID: $bytes bytes"
echo "$sum  payload.json" >"$AGENT_RUNNER_ARTIFACTS/payload.sha256"
printf '{"sha256": "%s", "bytes": %d}\n' "$sum" "$bytes" >"$AGENT_RUNNER_RESULT"
