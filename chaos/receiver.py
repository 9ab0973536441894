"""A real HTTP server for alerts: keeps the messages it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What was taken, in order."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.taken.append(message["message"].rsplit("Message ", 1)[1])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_address[1]}/hook"


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that listens for the length of the block; ``taken`` holds the ids of the messages."""
    mine = Receiver()
    thread = threading.Thread(target=mine.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        mine.server.shutdown()
        mine.server.server_close()
        thread.join()
