"""`make benchmark`: the chain and its baselines, in turn, on the same photos, weights and cores.

Every contestant is a process of its own, measured from outside: seconds from its start to its end, CPU seconds of it
and all its children, and the largest memory of one of its processes. A round runs each once, in another order each
time. Writes a table of medians and ratios, and a plot. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from engines.core.networks.prepare import prepare_model
from flows.checks import cache_folder
from tests.benchmarks.contestants import CONTESTANTS, Contestant, Job
from tests.benchmarks.report import write_report
from tests.conftest import TEST_DATA, TEST_WEIGHTS, write_photos

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds from start to end, CPU seconds, bytes of its largest process, and what it says of its parts."""

    seconds: float
    cpu_seconds: float
    peak_memory: int
    parts: dict[str, float]


@dataclass(slots=True)
class Series:
    """The rounds of one contestant on so many photos."""

    contestant: Contestant
    images: int
    rounds: list[Measured] = field(default_factory=list)


def main() -> None:
    """Measure, and write `benchmarks.md` and `benchmarks.svg`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1320, 6600], help="photos, spread over all classes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in CONTESTANTS])
    parser.add_argument("--seed", type=int, default=0, help="of the order within each round")
    parser.add_argument("--report", type=Path, default=ROOT, help="folder for benchmarks.md and benchmarks.svg")
    chosen = parser.parse_args()
    weights = str(TEST_WEIGHTS) if TEST_WEIGHTS.is_file() else "random"
    if not TEST_WEIGHTS.is_file():
        parser.error(f"no weights: FRUITS_TEST_WEIGHTS={TEST_WEIGHTS} is not a file")
    prepare_model(weights, "litert", cache_folder())  # converting is done once in a user's life
    contestants = [each for each in CONTESTANTS if _can_run(each) and (not chosen.only or each.name in chosen.only)]
    order = random.Random(chosen.seed)
    series = []
    with tempfile.TemporaryDirectory(prefix="fruits-benchmark-") as folder:
        for images in chosen.images:
            photos, count = spread(Path(folder, f"photos-{images}"), images)
            table = [Series(each, count) for each in contestants]
            series += table
            for number in range(chosen.rounds):
                for each in order.sample(table, len(table)):
                    output = Path(folder, "output")
                    measured = measure(each.contestant.command(Job(photos, weights, output, usable())))
                    each.rounds.append(measured)
                    shutil.rmtree(output, ignore_errors=True)  # the limit writes none
                    print(
                        f"{count:,} photos, round {number + 1}: {each.contestant.name} {measured.seconds:.1f} s",
                        flush=True,
                    )
    write_report(series, chosen.report)


def measure(command: list[str]) -> Measured:
    """Run `command` to its end. Raises CalledProcessError, with what it printed, when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as printed:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        sys.stderr.write(text[-4000:])
        raise subprocess.CalledProcessError(process.returncode, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    last = text.strip().splitlines()[-1]
    parts = json.loads(last)["seconds"] if last.startswith('{"images"') else {}
    return Measured(seconds, cpu, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), parts)


def spread(folder: Path, images: int) -> tuple[Path, int]:
    """Links to `images` real photos, the same number of each class; made-up ones where no real ones are there."""
    if not TEST_DATA.is_dir():
        return write_photos(folder, images, classes=33), images
    classes = sorted(path for path in TEST_DATA.iterdir() if path.is_dir())
    count = 0
    for kind in classes:
        photos = sorted(kind.glob("*.jpg"))
        per_class = min(len(photos), max(1, images // len(classes)))
        (folder / kind.name).mkdir(parents=True)
        for photo in photos[:: max(1, len(photos) // per_class)][:per_class]:
            (folder / kind.name / photo.name).symlink_to(photo)
            count += 1
    return folder, count


def usable() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def _can_run(contestant: Contestant) -> bool:
    there = not contestant.needs or importlib.util.find_spec(contestant.needs) is not None
    if not there:
        print(f"left out: {contestant.name}, because {contestant.needs} is not installed (make benchmark installs it)")
    return there


if __name__ == "__main__":
    main()
