"""A proxy in front of an S3 that has faults: which request meets which is drawn from a seed, whatever the order."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.s3_answers import Answer, refused

STALL_SECONDS = 3.0

FAULTS = ("500", "503", "reset", "stall", "cut", "wrong length")
"""Internal errors, SlowDown, connections reset, answers that never come, half a body, a length that is not true."""

Rule = Callable[[str, str, int], str | Answer | None]
"""The fault of a request by its method, its path, and how often that was asked for (from 0); None for none.

An Answer is given in place of that of the S3 behind.
"""


def now_and_then(seed: int, share: float, faults: tuple[str, ...] = FAULTS) -> Rule:
    """A `share` of the requests meets one of `faults`."""

    def rule(method: str, path: str, number: int) -> str | None:
        drawn = hashlib.sha256(f"{seed} {method} {path} {number}".encode()).digest()
        met = int.from_bytes(drawn[:4], "big") < share * 2**32
        return faults[drawn[4] % len(faults)] if met else None

    return rule


@dataclass
class FaultyS3:
    """The running proxy. `rule` may be replaced; `met` counts the faults."""

    endpoint: str
    rule: Rule
    met: Counter[str] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)


@contextlib.contextmanager
def faulty_s3(behind: str, rule: Rule) -> Iterator[FaultyS3]:
    """Serve what is at the endpoint `behind`, with faults, within this context."""
    address = urlsplit(behind).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer leaves in one piece: obstore waits for a body with the GIL, which a server in its process needs.
        wbufsize = 1 << 20

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = self.command, self.path
            running.asked[asked] += 1
            fault = running.rule(*asked, running.asked[asked] - 1)
            if fault is not None:
                running.met[fault if isinstance(fault, str) else str(fault.status)] += 1
            if isinstance(fault, Answer):
                self._answer(fault)
            elif fault in ("reset", "stall"):
                time.sleep(STALL_SECONDS if fault == "stall" else 0)
                # Closing with a linger of 0 seconds resets the connection.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif fault in ("500", "503", "403", "404"):
                self._refuse(fault)
            else:
                self._forward(body, fault)

        def _refuse(self, fault: str) -> None:
            codes = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied", "404": "NoSuchKey"}
            self._answer(refused(codes[fault], "a fault for a test", int(fault)))

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def _forward(self, body: bytes, fault: str | None) -> None:
            connection = http.client.HTTPConnection(address, timeout=100)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(int(length or 0) + (100 if fault == "wrong length" else 0)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
            self.close_connection = fault is not None

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve

        def log_message(self, *_: object) -> None:
            """Nothing: this is a test."""

        def handle_one_request(self) -> None:
            with contextlib.suppress(OSError):  # the client was killed, or gave up
                super().handle_one_request()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = FaultyS3(f"http://127.0.0.1:{server.server_port}", rule)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
