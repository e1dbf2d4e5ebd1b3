"""The entry point of a run's job on EMR: takes stages as orders, and runs them with the Spark engine.

It is uploaded as one file, and takes one argument, a JSON object: `output` and `folder` of the log of orders (see
`engines.emr.orders`), `idle_seconds`, `region`, and `patience` (see `engines.patience`). The job ends when the run says
so, with the last stage, and by itself when no order came for `idle_seconds`, so that it does not outlive a run that is
gone.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from engines.base import CHAIN, STAGES, Engine, Progress
from engines.core.errors import DamagedError, FruitsError, StorageError, TransientError
from engines.emr.orders import Entry, Kind, OrderLog
from engines.patience import Patience

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_UPDATES = 5.0


def serve(
    log: OrderLog,
    engine: Engine,
    idle_seconds: float,
    *,
    lost: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Carry out the orders of `log` with `engine` until one ends the job, or none comes for `idle_seconds`.

    `lost`: whether the engine can do no more. Orders that are answered already, by a driver before this one, are not
    carried out again. Returns 0, or 1 when the last order failed.
    """
    author = f"job-{uuid.uuid4().hex[:12]}"
    number, failed, why_end = 0, False, ""
    since = time.monotonic()
    while True:
        waited = time.monotonic() - since
        if not why_end and waited >= idle_seconds:
            why_end = f"no order came for {idle_seconds:.0f} s"
        try:
            entry = log.read(number)
            if entry is None and why_end and log.append(number, Entry(Kind.CLOSED, author, reason=why_end)):
                _say(why_end)
                return int(failed)
        except FruitsError as error:
            # Without the output there are no orders: a job that cannot read it for so long has nothing to stay for.
            _say(f"{type(error).__name__}: {error}")
            if why_end:
                return 1
            entry = None
        if entry is None:
            pause(0.0 if why_end else _SECONDS_BETWEEN_LOOKS)
            continue
        if entry.kind.last:
            return int(failed)
        if entry.kind is Kind.STAGE and log.answer(number) is None:
            answer = carry_out(entry, engine, functools.partial(log.write_progress, number))
            failed = "error" in answer
            log.write_answer(number, answer)
        why_end = ""
        if entry.kind is Kind.STAGE and entry.stage == CHAIN[-1] and not failed:
            why_end = "all stages are done"
        elif failed and lost():
            why_end = "Spark has stopped"
        number += 1
        since = time.monotonic()


def carry_out(order: Entry, engine: Engine, write_progress: Callable[[Progress], None]) -> dict[str, Any]:
    """Run the stage that `order` asks for: its `report`, and `facts` about what computed it; or its `error`."""
    last = 0.0

    def say_how_far(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.done >= progress.total or now - last >= _SECONDS_BETWEEN_UPDATES:
            last = now
            try:
                write_progress(progress)
            except (StorageError, TransientError) as error:
                # Progress is only for display: failing to write it must not fail the stage.
                _say(f"progress: {error}")

    engine.on_progress = say_how_far
    try:
        report = getattr(engine, order.stage)(STAGES[order.stage].request(**order.request))
    except FruitsError as error:
        _say(f"{order.stage}: {type(error).__name__}: {error}")
        explained: dict[str, Any] = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        if isinstance(error, DamagedError):
            explained |= {"finding": error.finding, "shards": error.shards}
        return {"error": explained}
    facts = {"python": platform.python_version()}
    if "spark" in engine.describe():  # a stage that found all its work done needs none
        facts["spark"] = str(engine.describe()["spark"])
    return {"report": asdict(report), "facts": facts}


def main(argument: str) -> int:
    """Serve the orders that `argument` names, in the session that spark-submit started. Returns the exit code."""
    from engines.spark.engine import SparkEngine

    job = json.loads(argument)
    # EMR on EC2 sets no region, and boto3 looks at this variable alone.
    os.environ.setdefault("AWS_DEFAULT_REGION", job["region"])
    log = OrderLog(job["output"], job["folder"])
    with SparkEngine(patience=Patience(**job["patience"])) as engine:
        return serve(log, engine, job["idle_seconds"], lost=lambda: engine.lost)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the driver's log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
