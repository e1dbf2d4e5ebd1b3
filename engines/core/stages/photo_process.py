"""A process that decodes photos and runs the network on them, one at a time, and may die of it.

`python -P -m engines.core.stages.photo_process` reads messages from standard input and answers on standard output,
until the former ends: with its parent, however that ends. A timer of its own bounds what a photo takes, so that nothing
stays behind when the parent is killed while it hangs.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from engines.core.endings import ending
from engines.core.errors import StageError
from engines.core.networks.images import decode
from engines.core.networks.model import Model
from engines.core.networks.runtimes import open_runtime
from engines.core.rejects import RejectedImageError
from engines.core.stages.limits import PhotoLimits, time_limit

_START_SECONDS = 120.0
_GRACE_SECONDS = 15.0
"""A process whose own timer does not end it (it was stopped) is ended so much later."""

_SLACK = 2**28
"""Bytes of address space for what allocators round up: what `memory_to_decode` allows is never refused here."""
_COPIES = 4
"""A file is held as it was received, and taken apart, while it is decoded."""

_READY, _FEATURES, _REJECT, _FAILED = b"+", b"=", b"-", b"!"


class PhotoProcessError(Exception):
    """The process has ended; says by what (a signal's name, or an exit code). `timeout`: by its time limit."""

    def __init__(self, how: str, *, timeout: bool) -> None:
        super().__init__(how)
        self.timeout = timeout


class PhotoProcess:
    """The process, seen from the worker."""

    def __init__(self, model: Model, limits: PhotoLimits) -> None:
        """Start it, and wait until it has loaded the model. Raises StageError when it does not."""
        self._limits = limits
        with tempfile.TemporaryFile() as log:
            self._start(model, log)

    def _start(self, model: Model, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._to = _connection(self._process.stdin, readable=False)
        self._from = _connection(self._process.stdout, readable=True)
        facts = {"recipe": model.recipe, "seconds": self._limits.seconds, "memory": self._limits.memory}
        try:
            with contextlib.suppress(OSError):  # it has ended: how, is found out below
                self._to.send_bytes(json.dumps(facts).encode())
                self._to.send_bytes(model.content)
            answer = self._answer(_START_SECONDS)
        except PhotoProcessError as error:
            self.close()
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            message = f"the process that decodes photos does not start: {error}"
            raise StageError(message, "\n".join(lines[-3:])) from error
        assert answer == _READY, answer  # noqa: S101 - its first word

    def features(self, content: bytes) -> npt.NDArray[np.float32]:
        """float32[features] of a photo's file.

        Raises RejectedImageError for one that cannot be featurized, PhotoProcessError when the process ended over it
        (then this object is of no more use), StageError for an error of ours.
        """
        with contextlib.suppress(OSError):  # it has ended: how, is found out below
            self._to.send_bytes(content)
        answer = self._answer(self._limits.seconds + _GRACE_SECONDS)
        kind, content = answer[:1], answer[1:]
        if kind == _FEATURES:
            return np.frombuffer(content, np.float32)
        if kind == _REJECT:
            raise RejectedImageError(*json.loads(content))
        raise StageError(content.decode())

    def close(self) -> None:
        """End it. May be called twice."""
        self._to.close()
        self._from.close()
        self._process.kill()
        self._process.wait()

    def _answer(self, seconds: float) -> bytes:
        try:
            if self._from.poll(seconds):
                return self._from.recv_bytes()
        except (EOFError, OSError):
            code = self._process.wait()
            self.close()
            raise PhotoProcessError(ending(code), timeout=code == -signal.SIGALRM) from None
        self.close()
        raise PhotoProcessError("its time limit", timeout=True)


def _connection(pipe: IO[bytes] | None, *, readable: bool) -> Connection[Any, Any]:
    """Messages over one end of a pipe, which is the connection's from now on."""
    assert pipe is not None  # noqa: S101 - a pipe
    connection = Connection(os.dup(pipe.fileno()), readable=readable, writable=not readable)
    pipe.close()
    return connection


def main() -> None:
    """Answer until standard input ends."""
    requests, answers = Connection(os.dup(0), writable=False), Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # whatever is printed is for the log
    _expendable()
    facts = json.loads(requests.recv_bytes())
    model = Model(requests.recv_bytes(), facts["recipe"])
    runtime, side = open_runtime(model), model.network.side
    runtime.features(np.zeros((side, side, 3), np.uint8))  # what it allocates once is none of a photo's
    limits = PhotoLimits(facts["seconds"], facts["memory"])
    held = _address_space()
    answers.send_bytes(_READY)
    while True:
        try:
            content = requests.recv_bytes()
        except EOFError:
            return
        if held is not None:
            _limit_address_space(held + limits.memory + _COPIES * len(content) + _SLACK)
        try:
            with time_limit(limits.seconds):
                row = runtime.features(decode(content, side, limits.memory))
            answer = _FEATURES + row.astype(np.float32, copy=False).tobytes()
        except RejectedImageError as reject:
            answer = _REJECT + json.dumps([reject.reason, reject.detail]).encode()
        except MemoryError:
            detail = f"it takes more than the {limits.memory / 1e6:,.0f} MB that are allowed"
            answer = _REJECT + json.dumps(["too_large", detail]).encode()
        except Exception as error:
            # Whatever it is, the worker raises it.
            answer = _FAILED + f"{type(error).__name__}: {error}".encode()
        answers.send_bytes(answer)


def _expendable() -> None:
    """Leave no core file, and be what the kernel ends first when the machine has no memory left."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


def _limit_address_space(size: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def _address_space() -> int | None:
    """Bytes of address space that this process has; None where the system does not say, and bounds nothing (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
