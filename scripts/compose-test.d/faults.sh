# Load, kills, scaling, edits by hand.
# shellcheck shell=bash

load=''
ledger() { printf '%s' "$work/ledger/executions"; }
jobs() { python3 "$testbed/jobs.py" "$1" "http://localhost:$port" "${@:2}"; }

end_load() {
  [[ -z $load ]] || kill "$load" 2>/dev/null
}

await_accepted() {
  until (($(wc -l <"$work/accepted.jsonl") >= $1)); do
    kill -0 "$load" 2>/dev/null || die "the load ended early"
    sleep 0.1
  done
}

# The container in which a job runs, once it does.
container_of() {
  local until=$((SECONDS + 30)) host
  while ((SECONDS < until)); do
    host=$(awk -v job="$1" '$1 == "start" && $2 == job { print $4 }' "$(ledger)" 2>/dev/null | tail -n 1)
    if [[ -n $host ]]; then
      printf '%s' "$host"
      return
    fi
    sleep 0.1
  done
  die "job $1 does not start"
}

first_process() { docker inspect --format '{{.State.Pid}} {{.State.Running}} {{.State.Health.Status}}' "$1"; }

# As a crash or the kernel's killer would: not by the engine's own verb, after which it restarts nothing.
crash() {
  local service=$1 container pid now running health until=$((SECONDS + 60))
  container=$(stack ps -q "$service" | tail -n 1)
  read -r pid running health < <(first_process "$container")
  [[ $running == true ]] || die "$service does not run"
  kill -KILL "$pid"
  while ((SECONDS < until)); do
    read -r now running health < <(first_process "$container")
    if [[ $running == true && $health == healthy && $now != "$pid" ]]; then
      echo "killed $service: it is back"
      return
    fi
    sleep 0.1
  done
  die "$service is not back a minute after it was killed"
}

load_with_faults() {
  : >"$work/accepted.jsonl"
  jobs load "$work/accepted.jsonl" 200 &
  load=$!

  await_accepted 30
  local lost kept container
  lost=$(jobs submit "$work/accepted.jsonl" '{"sleep": 8}')
  container=$(container_of "$lost")
  quietly docker kill --signal KILL "$container"
  echo "killed a worker: $container, in the middle of $lost"

  crash worker
  kept=$(jobs submit "$work/accepted.jsonl" '{"sleep": 9}')
  container=$(container_of "$kept")
  await_accepted 60
  crash reconciler
  await_accepted 80
  crash api
  crash redis

  jobs await "$kept" '.status == "SUCCEEDED"'
  await_accepted 110
  up_with 2 --no-recreate
  echo "scaled to 2 workers"
  await_accepted 160
  up_with 5 --no-recreate
  await_healthy 5
  echo "scaled to 5 workers"

  wait "$load" || die "the load failed"
  load=''
  jobs settle "$work/accepted.jsonl" 90
  # A worker that vanishes costs its attempt; the end of any other part costs none.
  jobs expect "$lost" '.attempt == 2 and .status == "SUCCEEDED"'
  jobs expect "$kept" '.attempt == 1 and .status == "SUCCEEDED"'
}

redis_cli() { stack exec -T redis redis-cli "$@"; }

edit_by_hand() {
  local id answer text
  # By the script for operators.
  id=$(jobs submit "$work/accepted.jsonl" '{"sleep": 0}')
  jobs settle "$work/accepted.jsonl" 30
  answer=$(redis_cli --eval /runbooks/redis/retry.lua , "$id")
  [[ $answer == desired:* ]] || die "retry.lua: $answer"
  jobs await "$id" '.attempt == 2 and .status == "SUCCEEDED"'
  # By hand.
  text=$(redis_cli HGET "agent-runner:job:$id" desired)
  text=$(jq -c '.retry += 1' <<<"$text")
  answer=$(printf %s "$text" | redis_cli -x HSET "agent-runner:job:$id" desired)
  [[ $answer == 0 ]] || die "HSET: $answer"
  jobs await "$id" '.attempt == 3 and .status == "SUCCEEDED"'
  # A mistyped id is refused by the script, and makes a ghost by HSET, which is reported and not launched.
  answer=$(redis_cli --eval /runbooks/redis/retry.lua , "x$id" 2>&1 || true)
  [[ $answer == *"there is no job x$id"* ]] || die "retry.lua with a mistyped id: $answer"
  printf %s "$text" | redis_cli -x HSET "agent-runner:job:x$id" desired >/dev/null
  jobs await "x$id" '.reason == "InvalidRecord" and .status == "QUEUED" and .attempt == 0'
  redis_cli DEL "agent-runner:job:x$id" >/dev/null
  echo "edited by hand: $id has three attempts"
}

verdict() {
  jobs verdict "$work/accepted.jsonl" "$(ledger)" "$work/verdict.json"
}
