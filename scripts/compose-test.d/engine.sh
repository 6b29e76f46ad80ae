# The Docker engine: one that answers, or one of our own.
# shellcheck shell=bash

engine=''
# shellcheck disable=SC2034 # scripts/compose-test sets it
work=''

engine_answers() { docker info >/dev/null 2>&1; }

find_engine() {
  if engine_answers; then
    echo "engine: $(docker version --format '{{.Server.Version}}') at ${DOCKER_HOST:-the usual socket}"
    return
  fi
  command -v dockerd >/dev/null || without "no engine answers and dockerd is not installed; type: make deps"
  export DOCKER_HOST=unix://$work/docker.sock
  mkdir -p "$work/engine"
  # In a session of its own: Ctrl-C is for this script, which ends the engine when the containers are gone.
  setsid dockerd --data-root "$work/engine/data" --exec-root "$work/engine/exec" --pidfile "$work/engine/pid" \
    -H "$DOCKER_HOST" >"$work/engine/log" 2>&1 &
  engine=$!
  for _ in $(seq 300); do
    if engine_answers; then
      echo "engine: $(docker version --format '{{.Server.Version}}'), started in $work"
      return
    fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$work/engine/log" >&2
  die "the engine does not start"
}

end_engine() {
  [[ -n $engine ]] || return 0
  kill "$engine" 2>/dev/null
  wait "$engine" 2>/dev/null
  # What an engine that was killed leaves mounted.
  local at
  awk -v below="$work/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r at; do umount -l "$at"; done
  engine=''
}
