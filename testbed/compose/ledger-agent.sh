#!/bin/sh
# The agent of scripts/compose-test: writes down in /ledger/executions when it started and ended, a line
# `event job attempt host nanoseconds` each, in one write at the end of the file.
#
# While it or a child of it lives it holds the lock of its job, which the kernel frees when the last of them is dead; an
# agent that finds it taken has met another one of its job and writes `overlap`. All containers are on one kernel, so
# they share its locks and its clock.
#
# | member of the payload | meaning |
# |---|---|
# | `sleep` | seconds to work |
# | `fail_times` | end with exit code 7 while the attempt's number is at most this |
set -eu

note() { echo "$1 $AGENT_RUNNER_JOB_ID $AGENT_RUNNER_ATTEMPT $(uname -n) $(date +%s%N)" >>/ledger/executions; }
member() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" "$AGENT_RUNNER_PAYLOAD"; }

exec 9>>"/ledger/lock.$AGENT_RUNNER_JOB_ID"
flock -n 9 || note overlap
# Before the first line, so that no agent that has started is stopped unseen.
trap 'note told; exit 143' TERM
note start
# A signal ends the wait, and not the sleep.
sleep "$(member sleep)" &
wait $!

fail_times=$(member fail_times)
if [ "$AGENT_RUNNER_ATTEMPT" -le "${fail_times:-0}" ]; then
    note end
    exit 7
fi
printf '{"job_id":"%s","attempt":%s}\n' "$AGENT_RUNNER_JOB_ID" "$AGENT_RUNNER_ATTEMPT" >"$AGENT_RUNNER_RESULT"
note end
