# shellcheck shell=bash
# The Python environment without Docker: .venv, from the two lock files with hashes. Sourced by the scripts.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv
locks=("$root/docker/airflow/requirements.lock" "$root/docker/airflow/requirements-dev.lock")

# The first Python of a supported version: HIGHWATER_PYTHON if set, else from the path.
find_python() {
  local candidate
  for candidate in ${HIGHWATER_PYTHON:+"$HIGHWATER_PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "${0##*/}: no Python 3.11, 3.12 or 3.13 here (python3 is $(python3 --version 2>&1 || true)):" \
    "install one, or name it in HIGHWATER_PYTHON" >&2
  return 1
}

# Creates .venv; a no-op if it was created from the same lock files.
prepare_venv() {
  local wanted python
  wanted=$(cat "${locks[@]}" | cksum)
  [ "$(cat "$venv/made-from" 2>/dev/null)" = "$wanted" ] && return
  python=$(find_python)
  echo "${0##*/}: making .venv with $("$python" --version) (once, a minute or two)" >&2
  if ! "$python" -m venv --clear "$venv" >&2; then
    rm -rf "$venv"
    echo "${0##*/}: $python cannot make a virtual environment: install its venv module (Debian: python3-venv)" >&2
    return 1
  fi
  install_locks >&2
  echo "$wanted" > "$venv/made-from"
}

# With uv, which is ten times faster: the machine's, else the image's version, else pip.
install_locks() {
  local pip=("$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes) uv
  if uv=$(command -v uv) ||
    { "${pip[@]}" --no-deps -r "$root/docker/airflow/installer.lock" && uv=$venv/bin/uv; }; then
    "$uv" pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps --compile-bytecode \
      -r "${locks[0]}" -r "${locks[1]}"
  else
    "${pip[@]}" --no-deps -r "${locks[0]}" -r "${locks[1]}"
  fi
}
