# Base images: from a registry where one answers, else from Debian's packages.
# shellcheck shell=bash

BASE=debian:bookworm-slim
REDIS=redis:7.4-bookworm
PYTHON=python:3.12-slim
# What was made or pulled here, to be removed.
our_images=()
grafana=''

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# An engine of our own is removed with all it has.
remove_images() {
  [[ -z $engine && ${#our_images[@]} -gt 0 ]] || return 0
  docker rmi -f "${our_images[@]}" >/dev/null 2>&1
  # The builder without BuildKit leaves the stages before its target, which nobody uses.
  docker image prune -f --filter 'label=org.opencontainers.image.title=agent-runner orchestrator' >/dev/null 2>&1
}

find_images() {
  PROMETHEUS=$(image_of prometheus)
  GRAFANA=$(image_of grafana)
  local wanted=("$BASE" "$REDIS" "$PYTHON" "$PROMETHEUS") missing=() image
  for image in "${wanted[@]}"; do have_image "$image" || missing+=("$image"); done
  if ((${#missing[@]} == 0)); then
    echo "base images: they are there"
  elif timeout 120 docker pull --quiet "${missing[0]}" >"$work/pull" 2>&1; then
    our_images+=("${missing[0]}")
    for image in "${missing[@]:1}"; do
      docker pull --quiet "$image" >/dev/null
      our_images+=("$image")
    done
    echo "base images: pulled"
  else
    echo "base images: made here, because none can be pulled ($(tail -n 1 "$work/pull" | cut -c1-100))"
    our_images+=("${missing[@]}")
    make_base_images "${missing[@]}"
  fi
  if have_image "$GRAFANA"; then
    grafana=1
  elif [[ ! -s $work/pull ]] && timeout 300 docker pull --quiet "$GRAFANA" >/dev/null 2>&1; then
    our_images+=("$GRAFANA")
    grafana=1
  else
    echo "left out: Grafana, because its image cannot be pulled"
  fi
}

# The image of a service, as the compose file names it.
image_of() {
  docker compose -f "$root/compose/docker-compose.yml" --env-file /dev/null --profile observability config --format json |
    jq -er ".services[\"$1\"].image"
}

# Stand-ins with what this test needs of the official images: the same names, users and folders.
make_base_images() {
  mkdir -p "$cache"
  local saved made=("agent-runner-test/$BASE" "agent-runner-test/$REDIS" "agent-runner-test/$PROMETHEUS" "agent-runner-test/$PYTHON")
  # Other versions of this file make other images.
  saved=$cache/base-images-$(sha256sum "$parts/images.sh" | cut -c1-12).tar.gz
  if [[ ! -f $saved ]]; then
    command -v debootstrap >/dev/null || without "debootstrap is not installed and no image can be pulled; type: make deps"
    rm -f "$cache"/base-images-*
    make_base
    dockerfile "$REDIS" <<'DOCKERFILE'
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* && mkdir -p /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
DOCKERFILE
    dockerfile "$PROMETHEUS" <<'DOCKERFILE'
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* && mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
DOCKERFILE
    dockerfile "$PYTHON" <<'DOCKERFILE'
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
DOCKERFILE
    docker save "${made[@]}" | gzip -1 >"$saved.new"
    mv "$saved.new" "$saved"
  else
    docker load --quiet --input "$saved" >/dev/null
  fi
  our_images+=("${made[@]}")
  # Only what is missing gets its official name.
  local image
  for image in "$@"; do docker tag "agent-runner-test/$image" "$image"; done
}

make_base() {
  local root_of_base=$work/base
  debootstrap --variant=minbase bookworm "$root_of_base" >"$work/debootstrap" 2>&1 || {
    tail -n 5 "$work/debootstrap" >&2
    die "debootstrap failed"
  }
  # As in the official slim image.
  rm -rf "$root_of_base"/var/cache/apt/* "$root_of_base"/var/lib/apt/lists/* \
    "$root_of_base"/usr/share/{doc,man,info,locale}/*
  tar -C "$root_of_base" -c . | docker import -c 'CMD ["bash"]' - "agent-runner-test/$BASE" >/dev/null
  rm -rf "$root_of_base"
}

# Builds an image on the base from the lines on stdin.
dockerfile() {
  { echo "FROM agent-runner-test/$BASE" && cat; } | docker build --quiet --network host -t "agent-runner-test/$1" - >"$work/build" 2>&1 || {
    tail -n 20 "$work/build" >&2
    die "no $1 can be made"
  }
}
