"""A process measured from outside: seconds, CPU seconds, and memory of it and of all it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
_SAMPLE_SECONDS = 1.0
_WATCH_SECONDS = 0.01
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    # Under `uv run` Ray would give its workers an environment that uv makes anew, without the benchmark's packages.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


class FailedError(Exception):
    """A process that failed or took too long; in one line."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks in bytes: of the process itself, of a JVM below it, of the largest other process, and of the sum of all.

    The sum counts pages that processes share once (Linux: PSS), the others count them each time (resident set).
    """

    driver: int = 0
    jvm: int = 0
    worker: int = 0
    sum: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds from start to end, memory, and what is known of its parts (seconds by name).

    `cpu_seconds`: of the whole machine meanwhile, which has nothing else to do.
    """

    seconds: float
    cpu_seconds: float = 0.0
    memory: Memory = field(default_factory=Memory)
    parts: dict[str, float] = field(default_factory=dict)


def run_process(
    command: Sequence[str],
    *,
    longest: float,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[], bool] | None = None,
    sample: bool = True,
) -> tuple[Measured, str]:
    """Run `command` to its end; what was measured, and what it printed.

    `watch` is called until it is true; when that was is the part `watched`. `sample`: look at memory, once a second.
    Raises FailedError after `longest` seconds, or when the command fails; nothing of it is left then.
    """
    before = _busy_seconds()
    parts: dict[str, float] = {}
    late = threading.Event()
    with tempfile.TemporaryFile("w+") as printed:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **_QUIET, **(environment or {})}
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # each process would compile what it imports anew
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, env=variables, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        sampler = _Sampler(process.pid) if sample else None

        def give_up() -> None:
            late.set()
            _kill(process.pid)

        limit = threading.Timer(longest, give_up)
        limit.start()
        try:
            while watch is not None and process.poll() is None:
                if watch():
                    parts["watched"] = time.monotonic() - start
                    break
                time.sleep(_WATCH_SECONDS)
            process.wait()
            seconds = time.monotonic() - start
        except BaseException:
            _kill(process.pid)  # Ctrl-C is for all of it
            process.wait()
            raise
        finally:
            limit.cancel()
            memory = sampler.stop() if sampler else Memory()
            _kill_group(process.pid)  # what a failed one left
        printed.seek(0)
        text = printed.read()
    if late.is_set():
        raise FailedError(f"stopped after {longest:.0f} s")
    if process.returncode:
        sys.stderr.write(text[-4000:])
        said = [line for line in text.strip().splitlines() if line.strip()]
        raise FailedError(f"exit code {process.returncode}: {said[-1].strip()[:200] if said else 'without a word'}")
    return Measured(seconds, _busy_seconds() - before, memory, parts), text


def _busy_seconds() -> float:
    """CPU seconds of this machine so far: what a process uses below it is known only of what it waits for."""
    spent = psutil.cpu_times()
    return float(spent.user + spent.nice + spent.system) if hasattr(spent, "nice") else float(spent.user + spent.system)


def answer_of(text: str) -> dict[str, float]:
    """What a recipe said on its last line: seconds of its parts, and `images`. Raises FailedError without one."""
    for line in reversed(text.splitlines()):
        if line.startswith('{"images"'):
            said = json.loads(line)
            return {"images": float(said["images"]), **said["seconds"]}
    raise FailedError("it did not say what it has done")


class _Sampler:
    """Looks at the memory of a process and all below it, in a thread of its own."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._largest: dict[int, tuple[str, int]] = {}
        self._sum = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_often, daemon=True)
        self._thread.start()

    def stop(self) -> Memory:
        """The peaks."""
        self._ended.set()
        self._thread.join()
        peaks = {"driver": 0, "jvm": 0, "worker": 0}
        for role, memory in self._largest.values():
            peaks[role] = max(peaks[role], memory)
        return Memory(**peaks, sum=self._sum)

    def _look_often(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._look()

    def _look(self) -> None:
        root = psutil.Process(self._root)
        total = 0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
                name = "driver" if process.pid == self._root else "jvm" if process.name() == "java" else "worker"
                peak, share = _memory_of(process)
                total += share
                former = self._largest.get(process.pid, (name, 0))[1]
                self._largest[process.pid] = name, max(peak, former)
        self._sum = max(self._sum, total)


def _memory_of(process: psutil.Process) -> tuple[int, int]:
    """The largest resident set of a process since its start, and its share of the memory now."""
    if not sys.platform.startswith("linux"):
        resident = process.memory_info().rss
        return resident, resident
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    shares = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    share = next((line.split()[1] for line in shares.splitlines() if line.startswith("Pss:")), "0")
    return int(peak) * 1024, int(share) * 1024


def _kill(root: int) -> None:
    """End a process, its group, and all below it, also what has a group of its own."""
    below = []
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(root).children(recursive=True)
    _kill_group(root)
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
