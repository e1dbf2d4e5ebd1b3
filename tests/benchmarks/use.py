"""What is done with a published run, at size: `python -m tests.benchmarks.use --images 6600 90483`.

Each command is a process of its own, measured from outside. The runs are simulated ones, see `simulated_run`. Prints a
table in markdown. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil

from engines.published.export import FORMATS
from tests.benchmarks.process import run_process
from tests.benchmarks.simulated_run import publish_simulated

_FRUITS = (str(Path(sys.executable).with_name("fruits")),)
_QUERIES = 40
_LONGEST = 7200.0
"""Seconds of a command."""


def main() -> None:
    """Measure, and print a row per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[6600, 90483])
    parser.add_argument("--folder", type=Path, help="where the runs are kept, and found again the next time")
    parser.add_argument("--only", nargs="+", help="commands by their beginning, such as check")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fruits-use-") as temporary:
        print("| images | command | seconds | CPU seconds | MB of it | MB of all processes | written |")
        print("|--:|---|--:|--:|--:|--:|--:|")
        for images in chosen.images:
            folder = (chosen.folder or Path(temporary)) / str(images)
            publish_simulated(folder, images)
            for name, command, written in commands(folder, Path(temporary, f"export-{images}")):
                if chosen.only and not name.startswith(tuple(chosen.only)):
                    continue
                done, _ = run_process([*_FRUITS, *command], longest=_LONGEST)
                memory = f"{done.memory.driver / 2**20:.0f} | {done.memory.sum / 2**20:.0f}"
                row = f"{done.seconds:.1f} | {done.cpu_seconds:.1f} | {memory} | {size(written)}"
                print(f"| {images:,} | {name} | {row} |", flush=True)
            if not chosen.only or "serve" in chosen.only:
                print(f"| {images:,} | serve: {queries(folder)} |", flush=True)


def commands(folder: Path, exports: Path) -> Iterator[tuple[str, list[str], Path | None]]:
    """Names, arguments, and what each writes. The photo is one of the run's own."""
    output = folder / "output"
    photo = str(next((folder / "photos").glob("*/*.jpg")))
    yield "check", ["check", str(output), "--engine", "dask"], None
    yield "check, done before", ["check", str(output)], None
    yield "report", ["report", str(output)], output / "report.html"
    yield "show", ["show", str(output)], None
    yield "similar", ["similar", photo, "--model", str(output)], None
    yield "transform", ["transform", photo, "--model", str(output)], None
    yield "verify", ["verify", str(output)], None
    for name in FORMATS:
        yield f"export --to {name}", ["export", str(output), "--to", name, str(exports / name)], exports / name


def queries(folder: Path) -> str:
    """Median and largest latency of questions to a server, and what it takes."""
    output = folder / "output"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    photos = [path.read_bytes() for path in sorted((folder / "photos").glob("*/0000.jpg"))[:_QUERIES]]
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        arguments = ["serve", str(output), "--port", str(port), "--rate", "100000"]
        server = subprocess.Popen([*_FRUITS, *arguments], stderr=log)
        try:
            client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
            while not answers(client):
                time.sleep(0.1)
            ready = time.monotonic() - start
            seconds = []
            for content in photos:
                asked = time.monotonic()
                client.post("/api/similar?k=10", files={"photo": content}).raise_for_status()
                seconds.append(time.monotonic() - asked)
            memory = psutil.Process(server.pid).memory_info().rss
        finally:
            server.terminate()
            server.wait()
    middle, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    asked = f"a question {middle:.0f} ms, at most {worst:.0f} ms; ready after"
    return f"{asked} | {ready:.1f} | - | {memory / 2**20:.0f} | - | -"


def answers(client: httpx2.Client) -> bool:
    """Whether the server is there."""
    try:
        return client.get("/healthz").is_success
    except httpx2.TransportError:
        return False


def size(written: Path | None) -> str:
    """Of a file, or of all files in a folder."""
    if written is None:
        return "-"
    files = [written] if written.is_file() else [path for path in written.rglob("*") if path.is_file()]
    return f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
