# shellcheck shell=bash
# Sourced: docker compose on this checkout.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

compose() { docker compose --project-directory "$root" "$@"; }

require_engine() {
  docker info >/dev/null 2>&1 || {
    echo "${0##*/}: no Docker engine answers, and scripts/demo was never started from this checkout" >&2
    exit 2
  }
}

# Whether that service of docker compose runs: what is typed is then for its container.
service_runs() {
  command -v docker >/dev/null && [ -f "$root/docker-compose.yaml" ] &&
    [ -n "$(compose ps --quiet --status running "$1" 2>/dev/null)" ]
}

# Where the platform is one of containers, and that service of it is not up, nothing of this machine is used in its
# place, and no .venv is made. Containers that are stopped may be of long ago where the demo was started from here too.
refuse_stopped_compose() {
  command -v docker >/dev/null || return 0
  [ -n "$(compose ps --quiet --status running 2>/dev/null)" ] ||
    { [ ! -e "${HIGHWATER_HOME:-$root/.highwater}/platform.env" ] && [ -n "$(compose ps --all --quiet 2>/dev/null)" ]; } ||
    return 0
  echo "${0##*/}: the $1 of docker compose is not up: docker compose ps --all shows what runs," \
    "docker compose up --detach --wait starts it" >&2
  exit 2
}

# Replaces this script by docker compose, e.g. exec SERVICE COMMAND …; with a terminal where there is one.
become_compose() {
  local verb=$1 terminal=()
  shift
  [ -t 0 ] && [ -t 1 ] || terminal=(--no-TTY)
  exec docker compose --project-directory "$root" "$verb" "${terminal[@]}" "$@"
}
