# The stack: built, described, started, asked, ended.
# shellcheck shell=bash

project=agent-runner-test-$$
port='' prometheus_port=''

# Compose with the test's own files beside those of the repository.
stack() {
  docker compose -p "$project" -f "$tree/compose/docker-compose.yml" -f "$tree/testbed.yml" --profile observability "$@"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Says what a command had to say only if it fails.
quietly() {
  "$@" >"$work/said" 2>&1 || {
    tail -n 40 "$work/said" >&2
    die "failed: $*"
  }
}

build_images() {
  local name
  # A copy, so that nothing is left in this checkout and no .env of it plays a part.
  mkdir -p "$tree" "$work/ledger"
  cp -r "$root/compose" "$root/agents" "$root/runbooks" "$root/docs" "$root/README.md" "$root/.dockerignore" "$root/.env.example" "$tree/"
  rm -f "$tree/compose/.env"
  for name in api reconciler worker; do
    cp "$programs/agent-runner-$name" "$tree/compose/prebuilt/" || die "there is no agent-runner-$name in $programs"
  done
  mkdir -p "$tree/compose/prebuilt/artifacts"
  cp /etc/ssl/certs/ca-certificates.crt "$tree/compose/prebuilt/"
  # What agents write down is judged from outside; they are another user.
  chmod 1777 "$work/ledger"
  cp "$testbed/job-types.toml" "$testbed/ledger-agent.sh" "$tree/compose/"
  sed "s|@ledger@|$work/ledger|" "$testbed/docker-compose.yml" >"$tree/testbed.yml"

  port=$(free_port)
  prometheus_port=$(free_port)
  export AGENT_RUNNER_PORT=$port PROMETHEUS_PORT=$prometheus_port
  export AGENT_RUNNER_BUILD_SUFFIX=-prebuilt
  export AGENT_RUNNER_ORCHESTRATOR_IMAGE=$project-orchestrator AGENT_RUNNER_WORKER_IMAGE=$project-worker
  export AGENT_RUNNER_PYTHON_WORKER_IMAGE=$project-python-worker
  export AGENT_RUNNER_COMPOSE_JOB_TYPES=./job-types.toml
  # Short, so that jobs of killed workers go on within the time of a test.
  export AGENT_RUNNER_POOL_LEASE_SECONDS=10
  our_images+=("$AGENT_RUNNER_ORCHESTRATOR_IMAGE" "$AGENT_RUNNER_WORKER_IMAGE" "$AGENT_RUNNER_PYTHON_WORKER_IMAGE")
  quietly stack build
}

# What the file says, however it is called, and whatever else is there.
compare_configs() {
  local clean=(env -i "PATH=$PATH" "HOME=$HOME" "DOCKER_CONFIG=$DOCKER_CONFIG" ${DOCKER_HOST:+"DOCKER_HOST=$DOCKER_HOST"})
  local all=(--profile observability config) file=compose/docker-compose.yml
  (cd "$tree" && "${clean[@]}" docker compose -f $file "${all[@]}") >"$work/config"
  same() {
    diff "$work/config" "$work/other" >&2 || die "$1 makes another stack"
  }
  (cd / && "${clean[@]}" docker compose -f "$tree/$file" "${all[@]}") >"$work/other"
  same "another working directory"
  (cd "$tree/compose" && "${clean[@]}" docker compose "${all[@]}") >"$work/other"
  same "no -f in compose/"
  (cd "$tree" && "${clean[@]}" "$compose_program" -f $file "${all[@]}") >"$work/other"
  same "docker-compose with a hyphen"
  cp "$tree/.env.example" "$tree/.env"
  (cd "$tree" && "${clean[@]}" docker compose -f $file "${all[@]}") >"$work/other"
  same ".env.example unchanged as .env"
  # Values of a container are those of the stack, whatever `cargo run` beside it was told.
  sed 's/^#\(AGENT_RUNNER_\)/\1/' "$tree/.env.example" >"$tree/.env"
  (cd "$tree" && "${clean[@]}" docker compose -f $file "${all[@]}") >"$work/other"
  same "every line of .env.example at its default"
  rm "$tree/.env"

  docker compose -f "$tree/$file" --profile observability config --format json >"$work/config.json"
  jq -e '
    (.services | keys) == ["api", "grafana", "prometheus", "reconciler", "redis", "worker"]
    and all(.services[]; .healthcheck and .init and .restart == "unless-stopped" and (.container_name | not))
    and (.services.worker.ports | not)
    and ([.services[].ports[]?.host_ip] | unique) == ["127.0.0.1"]
    and all(.services | .api, .reconciler, .worker;
      .read_only and .cap_drop == ["ALL"] and .security_opt == ["no-new-privileges:true"])
  ' "$work/config.json" >/dev/null || die "a service is not as docs/compose.md says"
  # What Grafana is given, where it cannot be started.
  jq -e 'all(.. | .datasource?.uid? // empty; . == "prometheus" or . == "-- Grafana --")' "$root"/compose/grafana/dashboards/*.json >/dev/null ||
    die "a dashboard names another datasource than the one that is provisioned"
}

# Blocks until so many workers are healthy, and everything else is.
await_healthy() {
  local workers=$1 until=$((SECONDS + 90)) states healthy
  while ((SECONDS < until)); do
    states=$(stack ps --format '{{.Service}} {{.State}} {{.Health}}' | sort)
    healthy=$(grep -c '^worker running healthy$' <<<"$states" || true)
    if ((healthy == workers)) && ! grep -vqE '^[a-z]+ running healthy$' <<<"$states" &&
      (($(grep -cE '^(api|reconciler|redis|prometheus) ' <<<"$states") == 4)); then
      return
    fi
    sleep 0.3
  done
  echo "$states" >&2
  die "the stack is not healthy with $workers workers"
}

# Everything with so many workers. Services are named, because Compose wants the images of all that are not.
up_with() {
  local workers=$1
  shift
  quietly stack up --detach --scale "worker=$workers" "$@" redis api reconciler worker prometheus ${grafana:+grafana}
}

bring_up() {
  up_with 5 --build
  await_healthy 5
  # shellcheck disable=SC2016 # the container's shell is meant
  stack exec -T worker sh -c '[ -z "${AWS_ENDPOINT_URL_S3+set}" ]' || die "a variable that nobody set is set"
  echo "up: 5 workers, $(stack ps --format '{{.Image}}' | sort -u | wc -l) images"
}

# The block of the README for people who have it running on port 8000.
run_readme() {
  python3 - "$root/README.md" >"$work/readme.sh" <<'PYTHON'
import pathlib, re, sys
blocks = re.findall(r"```sh\n(.*?)```", pathlib.Path(sys.argv[1]).read_text(), re.S)
block, = [block for block in blocks if "curl http://localhost:8000/health" in block]
print(block)
PYTHON
  sed -i "s/localhost:8000/localhost:$port/g" "$work/readme.sh"
  (cd "$work" && bash -euo pipefail "$work/readme.sh") >"$work/readme.out" 2>"$work/readme.err" || {
    cat "$work/readme.out" "$work/readme.err" >&2
    die "the commands of the README fail"
  }
  python3 "$testbed/jobs.py" settle-echo "http://localhost:$port" 21
}

look_at_metrics() {
  python3 "$testbed/prometheus.py" "http://localhost:$prometheus_port" "$root/compose"
}

# What the pages tell people to type.
type_pages() {
  COMPOSE_PROJECT_NAME=$project python3 "$testbed/pages.py" "$1" "$tree" "http://localhost:$port" "${@:2}"
}

type_runbooks() {
  type_pages runbooks 5
}

# From nothing, as people do it who have just read about it; with workers of an image of one's own, too.
type_documents() {
  quietly stack down --volumes --timeout 20
  # Compose wants the images of all services that are not named.
  local services=(redis api reconciler worker prometheus)
  [[ -z $grafana ]] || services=()
  type_pages documents ${services[@]+"${services[@]}"}
}

# Of the image of workers, 60 MB at most have to be loaded.
measure_worker() {
  local whole base
  whole=$(docker save "$AGENT_RUNNER_WORKER_IMAGE" | gzip -1 | wc -c)
  base=$(docker save "$BASE" | gzip -1 | wc -c)
  echo "size: the worker image has $((whole / 1000000)).$((whole / 100000 % 10)) MB compressed," \
    "$(((whole - base) / 1000000)).$(((whole - base) / 100000 % 10)) MB of them ours; the rest is $BASE"
  ((whole < 60000000)) || die "that is too much"
}

bring_down() {
  quietly stack down --volumes --timeout 20
  local left
  left=$(docker ps -aq --filter "label=com.docker.compose.project=$project"
    docker volume ls -q --filter "label=com.docker.compose.project=$project"
    docker network ls -q --filter "label=com.docker.compose.project=$project")
  [[ -z $left ]] || die "left behind: $left"
}

# At the end, whatever happened.
take_down() {
  [[ -f $tree/testbed.yml ]] || return 0
  if (($1 != 0)) && engine_answers; then
    stack ps -a >&2
    stack logs --no-color --tail 25 >&2
  fi
  if [[ -n ${COMPOSE_TEST_KEEP_LOGS:-} ]]; then
    mkdir -p "$COMPOSE_TEST_KEEP_LOGS"
    stack logs --no-color --timestamps >"$COMPOSE_TEST_KEEP_LOGS/containers.log" 2>&1
    cp -r "$work/ledger" "$work"/*.json* "$COMPOSE_TEST_KEEP_LOGS/" 2>/dev/null
  fi
  stack down --volumes --timeout 2 >/dev/null 2>&1
}
