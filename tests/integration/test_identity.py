"""The command line sends the admin's password to its own platform, and to nobody who cannot prove to be it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from page_server import PageServer, page_server

from highwater.airflow import api as airflow_api
from highwater.airflow.api import ApiUnavailable
from highwater.environment import credentials, identity, settings
from highwater.environment.identity import NotProven
from highwater.setup import airflow_files


@pytest.fixture(scope="module")
def server(platform: Path) -> Iterator[PageServer]:
    with page_server() as running:
        yield running


@pytest.fixture
def at(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has the command line look for the API server at an address."""

    def point(address: str) -> None:
        monkeypatch.setenv("HIGHWATER_UI_PORT", str(urlsplit(address).port))
        settings.get.cache_clear()

    yield point
    monkeypatch.undo()
    settings.get.cache_clear()


class Impostor:
    """Another server on this machine: what it was sent, and what it answers to a question for proof."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.answer: Callable[[str], tuple[int, str]] = lambda _nonce: (404, "not found")
        self.address = ""


@contextmanager
def listening() -> Iterator[Impostor]:
    mine = Impostor()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mine.sent.append(self.path)
            asked = parse_qs(urlsplit(self.path).query)
            status, text = mine.answer(asked.get("nonce", [""])[0])
            self._say(status, text)

        def do_POST(self) -> None:
            mine.sent.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._say(201, json.dumps({"access_token": "x"}))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        mine.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield mine
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    with listening() as running:
        yield running


def test_its_own_server_is_logged_in_to(server: PageServer, at: Callable[[str], None]) -> None:
    at(server.address)
    with closing(airflow_api.log_in()) as api:
        assert api.get("/version").is_success


def test_a_proxy_of_the_environment_is_not_used(
    server: PageServer, at: Callable[[str], None], impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, impostor.address)
    at(server.address)
    airflow_api.log_in().close()
    assert impostor.sent == []


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (404, "not found", "does not prove that it is this platform's"),
        (401, '{"detail": "Not authenticated"}', "does not prove"),
        (200, "<html>", "does not prove"),
        (200, '{"port": 1}', "does not prove"),
        (200, "[]", "does not prove"),
        (200, '{"port": 8080, "proof": ""}', "is another platform's"),
        (200, '{"port": 8080, "proof": "0000"}', "is another platform's"),
        (200, '{"port": 8080, "proof": "é"}', "is another platform's"),
        (302, "", "does not prove"),
    ],
)
def test_a_server_that_cannot_prove_it_is_sent_no_password(
    at: Callable[[str], None], impostor: Impostor, status: int, text: str, said: str
) -> None:
    impostor.answer = lambda _nonce: (status, text)
    at(impostor.address)
    with pytest.raises(NotProven) as refused:
        airflow_api.log_in()
    assert f"the server at {impostor.address} {said}" in str(refused.value)
    assert "set HIGHWATER_UI_PORT to the port" in str(refused.value)
    with pytest.raises(ApiUnavailable, match="no password was sent"):
        airflow_api.start("selective_backfill", "run", {})
    assert not any(credentials.secret("admin_password") in each for each in impostor.sent)


def test_another_platform_is_recognised_by_its_secret(
    server: PageServer, at: Callable[[str], None], impostor: Impostor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A platform of the same code, whose secret is another."""
    other = tmp_path / "secrets"
    other.mkdir()
    for file in settings.get().secrets.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "platform_proof").write_text("another platform's own secret\n")
    monkeypatch.setenv("HIGHWATER_SECRETS_DIR", str(other))
    at(server.address)
    with pytest.raises(NotProven, match="is another platform's"):
        airflow_api.log_in()


def test_one_that_passes_the_question_on_is_found_out(
    server: PageServer, at: Callable[[str], None], impostor: Impostor
) -> None:
    def ask_the_true_one(nonce: str) -> tuple[int, str]:
        answer = httpx.get(f"{server.address}{identity.PREFIX}/proof", params={"nonce": nonce}, timeout=60)
        return answer.status_code, answer.text

    impostor.answer = ask_the_true_one
    at(impostor.address)
    with pytest.raises(NotProven, match=f"forwards requests to the one on port {urlsplit(server.address).port}"):
        airflow_api.log_in()
    assert not any(credentials.secret("admin_password") in each for each in impostor.sent)


@pytest.mark.parametrize("nonce", ["", "short", "x" * 42, "x" * 129, "x" * 42 + " ", "x" * 50 + "\n"])
def test_the_route_answers_nothing_but_what_it_is_for(server: PageServer, nonce: str) -> None:
    with httpx.Client(base_url=f"{server.address}{identity.PREFIX}", timeout=60) as nobody:
        assert nobody.get("/proof", params={"nonce": nonce}).status_code in (400, 422)
        for path in ("/", "/docs", "/openapi.json", "/proof/x"):
            assert nobody.get(path).status_code == 404
        assert nobody.post("/proof", params={"nonce": "x" * 50}).status_code == 405
        answer = nobody.get("/proof", params={"nonce": "x" * 50})
    assert set(answer.json()) == {"port", "proof"}
    assert answer.headers["cache-control"] == "no-store"
    assert credentials.secret("platform_proof") not in answer.text


def test_the_secret_is_made_once_and_stays(platform: Path) -> None:
    before = credentials.secret("platform_proof")
    assert len(before) >= 32
    assert "platform_proof" not in credentials.ensure()
    airflow_files.write()
    assert credentials.secret("platform_proof") == before
