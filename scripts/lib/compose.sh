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
