# shellcheck shell=bash
# Sourced by scripts/backup and scripts/restore: Postgres' tools and the admin's command line, for the platform that runs.
# shellcheck source-path=SCRIPTDIR source=venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
# shellcheck source-path=SCRIPTDIR source=compose.sh
source "$(dirname "${BASH_SOURCE[0]}")/compose.sh"

# The platform is the demo if it was started from this checkout, unless containers run.
is_demo() {
  [ -e "${HIGHWATER_HOME:-$root/.highwater}/platform.env" ] &&
    { ! command -v docker >/dev/null || [ -z "$(compose ps --quiet --status running 2>/dev/null)" ]; }
}

# become_local [--alone] SCRIPT …: runs the script again with the demo's tools; see highwater/local/tools.py.
become_local() {
  prepare_venv
  export PYTHONPATH=$root
  exec "$venv/bin/python" -m highwater.local.tools "$@"
}

if [ -n "${HIGHWATER_HAS_TOOLS:-}" ]; then
  # A tool of Postgres as the warehouse's admin; $WAREHOUSE is the database there, so quote it with ''.
  pgtool() { "$@"; }
  # The same without a server.
  reader() { "$@"; }
  # The command line of the admin.
  as_admin() { "$venv/bin/python" -m highwater.cli.main "$@"; }
  stop_airflow() { :; }
  start_all() { as_admin bootstrap; }
  how_it_starts="scripts/demo starts it"
else
  # The server of compose lets its superuser in only over the socket, which is in its container.
  pgtool() {
    if [ -n "$(compose ps --quiet --status running warehouse)" ]; then
      compose exec --no-TTY warehouse "$@"
    else
      compose run --rm --no-deps --no-TTY pgtools "$@"
    fi
  }
  reader() {
    docker run --rm --interactive --network none --read-only --cap-drop ALL --user postgres --entrypoint "$1" \
      "$(compose --profile tools config --images pgtools)" "${@:2}"
  }
  # Without stdin: it would read the rest of the script.
  as_admin() { compose run --rm --no-TTY init highwater "$@" </dev/null; }
  stop_airflow() {
    local airflow
    # with docker-compose.celery.yaml there are workers too
    mapfile -t airflow < <(compose config --services | grep -xE 'apiserver|scheduler|dag-processor|triggerer|worker')
    compose stop "${airflow[@]}"
  }
  start_all() { compose up --detach --wait; }
  # shellcheck disable=SC2034  # it is for the scripts that source this
  how_it_starts="it runs"
fi

# Reads a whole dump of scripts/backup and prints `table NAME` for the tables that identify it, and `version V` of its
# schema. Fails if the file is truncated, damaged or not a dump of Postgres.
read_dump() {
  # shellcheck disable=SC2016  # $0 and $2 are awk's
  reader bash -euo pipefail -c 'pg_restore --file=- | awk '\''
    rows { if ($0 == "\\.") rows = 0; else if (version) print "version " $0; next }
    /^COPY .* FROM stdin;$/ { rows = 1; version = $2 == "control.alembic_version"; next }
    /^CREATE TABLE (ops\.window_ledger|control\.datasets|control\.alembic_version) / { print "table " $3 }
  '\' <"$1"
}

# The versions of the schema that this code knows, oldest first.
known_versions() { find "$root/highwater/sql/migrations" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort --version-sort; }
