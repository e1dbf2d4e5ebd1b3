"""An S3 that answers each request after a while: `python -m tests.benchmarks.slow_s3 FOLDER --delay 0.03`.

With `--faults 0.1` one in ten answers is wrong or never comes; which ones is drawn from a seed.

One bucket, `photos`, with the files of FOLDER, read into memory at the start. What an answer takes besides its delay is
some 0.1 ms: a protocol on asyncio's sockets that knows GET, HEAD and ListObjectsV2, and no signatures. It prints its
port, ends when its standard input does, and says then what it has done, so that a table can tell whether it was the
bottleneck.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import email.utils
import hashlib
import http
import json
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "photos"
PAGE = 1000
"""Objects on a page of a listing, as S3 has it."""

FAULTS = ("500", "503", "reset", "stall", "cut", "wrong length")
"""Internal errors, SlowDown, connections reset, answers that never come, half a body, a length that is not true."""

_REFUSALS = {
    "500": b"<Error><Code>InternalError</Code></Error>",
    "503": b"<Error><Code>SlowDown</Code></Error>",
}

_TIME = "2026-01-01T00:00:00.000Z"


class Bucket:
    """The objects, by key in the order of their UTF-8 bytes."""

    def __init__(self, folder: Path) -> None:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self._objects = {key: files[key] for key in sorted(files, key=str.encode)}
        self._keys = [key.encode() for key in self._objects]
        self._tags = {key: hashlib.md5(body, usedforsecurity=False).hexdigest() for key, body in files.items()}

    def answer(self, method: str, target: str) -> bytes:
        """The whole answer to a request."""
        url = urlsplit(target)
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        if bucket != BUCKET or method not in ("GET", "HEAD"):
            return _response(404, b"<Error><Code>NoSuchBucket</Code></Error>", "application/xml", method)
        if not key:
            return _response(200, self._listing(parse_qs(url.query)), "application/xml", method)
        body = self._objects.get(key)
        if body is None:
            return _response(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml", method)
        return _response(200, body, "image/jpeg", method, self._tags[key])

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        start = bisect.bisect_right(self._keys, after.encode()) if after else 0
        start = max(start, bisect.bisect_left(self._keys, prefix.encode()))
        keys = [key.decode() for key in self._keys[start : start + PAGE + 1] if key.startswith(prefix.encode())]
        more, keys = len(keys) > PAGE, keys[:PAGE]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_TIME}</LastModified>"
            f'<ETag>"{self._tags[key]}"</ETag><Size>{len(self._objects[key])}</Size></Contents>'
            for key in keys
        )
        token = f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>" if more else ""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
            f"<MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """One connection, kept alive; a request is answered `delay` seconds after it came."""

    requests = 0
    faults: ClassVar[Counter[str]] = Counter()

    def __init__(self, bucket: Bucket, delay: float, chance: random.Random, share: float) -> None:
        self._bucket, self._delay, self._received = bucket, delay, b""
        self._chance, self._share = chance, share
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            Connection.requests += 1
            fault = self._chance.choice(FAULTS) if self._chance.random() < self._share else ""
            Connection.faults.update([fault] if fault else [])
            asyncio.get_running_loop().call_later(self._delay, self._answer, method, target, fault)

    def _answer(self, method: str, target: str, fault: str) -> None:
        assert self._transport is not None
        if self._transport.is_closing() or fault == "stall":
            return
        if fault == "reset":
            self._transport.abort()
        elif fault in _REFUSALS:
            self._transport.write(_response(int(fault), _REFUSALS[fault], "application/xml", method))
        else:
            head, _, body = self._bucket.answer(method, target).partition(b"\r\n\r\n")
            if fault == "wrong length":
                head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % (len(body) + 100), head)
            self._transport.write(head + b"\r\n\r\n" + (body[: len(body) // 2] if fault == "cut" else body))
            if fault:
                self._transport.close()


def _response(status: int, body: bytes, kind: str, method: str, tag: str = "") -> bytes:
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        f"Content-Type: {kind}",
        f"Last-Modified: {email.utils.formatdate(1767225600, usegmt=True)}",  # _TIME
        *([f'ETag: "{tag}"'] if tag else []),
    ]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if method == "HEAD" else head + body


async def _serve(folder: Path, delay: float, share: float, seed: int) -> None:
    loop = asyncio.get_running_loop()
    bucket = Bucket(folder)
    chance = random.Random(seed)
    server = await loop.create_server(lambda: Connection(bucket, delay, chance, share), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    before = time.process_time()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    done = {"requests": Connection.requests, "faults": Connection.faults.total()}
    print(json.dumps({**done, "server_seconds": time.process_time() - before}), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.03, help="seconds before each answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of the requests that meet a fault")
    parser.add_argument("--seed", type=int, default=7, help="of which ones do")
    chosen = parser.parse_args()
    asyncio.run(_serve(chosen.folder, chosen.delay, chosen.faults, chosen.seed))
    os._exit(0)  # connections may be open


if __name__ == "__main__":
    main()
