"""A real HTTP server for alerts: keeps what it is sent, and behaves as badly as is wanted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What was taken, in order; ``answer`` is the status given, None hangs until ``let_go`` is set."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.answer: int | None = 200
        self.let_go = threading.Event()
        self.hanging = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                if receiver.answer is None:
                    receiver.hanging.set()
                    receiver.let_go.wait(60)
                status = receiver.answer or 200
                if status == 200:
                    receiver.taken.append(message)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Who asks looks at ``taken``."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://user:s3cretword@127.0.0.1:{self.server.server_address[1]}/hook"

    @property
    def titles(self) -> list[str]:
        """The titles of what was taken, in order, without the windows that they name in brackets at their end."""
        return [message["title"].split(" (")[0] for message in self.taken]

    @property
    def named(self) -> list[str]:
        """The windows that the titles name, in order, as the brackets name them; may be empty."""
        return [message["title"].partition(" (")[2].removesuffix(")") for message in self.taken]

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that were taken, in order."""
        return [message["message"].rsplit("Message ", 1)[1] for message in self.taken]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens for the length of the block."""
    mine = Receiver()
    thread = threading.Thread(target=mine.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        mine.let_go.set()
        mine.server.shutdown()
        mine.server.server_close()
        thread.join()
