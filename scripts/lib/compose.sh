# shellcheck shell=bash
# Sourced: docker compose on this checkout, and Postgres' own tools against its warehouse, wherever that is.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

compose() { docker compose --project-directory "$root" "$@"; }

# A tool of Postgres as the warehouse's admin; the name of the database is in $WAREHOUSE there, so quote it with ''.
# Our own server lets its superuser in over the socket alone, which is in its container.
pgtool() {
  if [ -n "$(compose ps --quiet --status running warehouse)" ]; then
    compose exec --no-TTY warehouse "$@"
  else
    compose run --rm --no-deps --no-TTY pgtools "$@"
  fi
}

require_engine() {
  docker info >/dev/null 2>&1 || {
    echo "${0##*/}: no Docker engine answers; the demo's data is the folder .highwater: stop it and copy that" >&2
    exit 2
  }
}

# Whether the platform runs in containers: what is typed is then for them.
compose_is_up() {
  command -v docker >/dev/null && [ -f "$root/docker-compose.yaml" ] &&
    [ -n "$(compose ps --quiet --status running apiserver 2>/dev/null)" ]
}

# Containers that are stopped need no .venv, and nothing of this machine is looked at in their place.
refuse_stopped_compose() {
  [ ! -e "${HIGHWATER_HOME:-$root/.highwater}/platform.env" ] && command -v docker >/dev/null &&
    [ -n "$(compose ps --all --quiet 2>/dev/null)" ] || return 0
  echo "${0##*/}: the platform of docker compose is not up: docker compose ps --all shows what runs," \
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
