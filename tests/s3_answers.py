"""An S3 that answers as a test wants: faults, refusals, and what was asked of it."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount>
<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>photo.jpg</Key><Size>3</Size>
<LastModified>2026-11-25T20:00:00.000Z</LastModified><ETag>"abc"</ETag></Contents></ListBucketResult>"""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `path` with its query, and the headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.path


@dataclass(frozen=True, slots=True)
class Answer:
    """`length`: what Content-Length says, if not the truth."""

    body: bytes = b""
    status: int = 200
    length: int | None = None


def refused(code: str, message: str, status: int = 403) -> Answer:
    return Answer(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(), status)


def good(request: Request) -> Answer:
    """A bucket with one photo."""
    return Answer(LISTING if request.is_listing else b"abc")


@dataclass
class Answers:
    """The running server."""

    endpoint: str
    requests: list[Request] = field(default_factory=list)


@contextlib.contextmanager
def answering(
    answer: Callable[[Request], Answer], port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Answers]:
    """Serve `answer` on 127.0.0.1 within this context."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer leaves in one piece: obstore waits for a body with the GIL, which a server in its process needs.
        wbufsize = 1 << 20

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            running.requests.append(request)
            given = answer(request)
            self.send_response(given.status)
            self.send_header("Content-Length", str(len(given.body) if given.length is None else given.length))
            self.send_header("ETag", '"abc"')
            self.send_header("Last-Modified", "Wed, 25 Nov 2026 20:00:00 GMT")
            if given.status == 301:
                self.send_header("x-amz-bucket-region", "eu-west-1")
            if given.length is not None:
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body)

        do_HEAD = do_GET
        do_POST = do_GET
        do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing: this is a test."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    running = Answers(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
