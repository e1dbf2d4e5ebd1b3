"""The entry point of a job on EMR: runs one stage with the Spark engine, in the session that spark-submit started.

It is uploaded as one file, and takes one argument, a JSON object: `stage`, `request`, `report_key`, `progress_key`,
`region`. It writes the report, or the error, to the output, where the process that submitted the job reads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import time
from typing import Any

from engines.base import STAGES, Progress
from engines.core.errors import FruitsError, StorageError, TransientError
from engines.core.storage import open_storage

_SECONDS_BETWEEN_UPDATES = 5.0


def run_stage(stage: str, request: Any, progress_key: str) -> dict[str, Any]:
    """Run one stage on the session of spark-submit, and write its progress to `progress_key` of the output.

    Returns the stage's `report`, and `facts`: the versions that computed it.
    """
    from engines.spark.engine import SparkEngine

    storage = open_storage(request.output)
    last = 0.0

    def write_progress(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.done >= progress.total or now - last >= _SECONDS_BETWEEN_UPDATES:
            last = now
            try:
                storage.write(progress_key, json.dumps(dataclasses.asdict(progress)).encode())
            except (StorageError, TransientError) as error:
                # Progress is only for display: failing to write it must not fail the job.
                print(f"progress: {error}", file=sys.stderr)  # noqa: T201 - the driver's log

    with SparkEngine() as engine:
        engine.on_progress = write_progress
        report = getattr(engine, stage)(request)
        facts = {"python": platform.python_version()}
        if "spark" in engine.describe():  # index needs none
            facts["spark"] = str(engine.describe()["spark"])
        return {"report": dataclasses.asdict(report), "facts": facts}


def main(argument: str) -> int:
    """Run the stage that `argument` describes. Returns 0 when it is done, 1 when it failed with a FruitsError."""
    job = json.loads(argument)
    # EMR on EC2 sets no region, and boto3 looks at this variable alone.
    os.environ.setdefault("AWS_DEFAULT_REGION", job["region"])
    request = STAGES[job["stage"]].request(**job["request"])
    storage = open_storage(request.output)
    try:
        result = run_stage(job["stage"], request, job["progress_key"])
    except FruitsError as error:
        explained = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        storage.write(job["report_key"], json.dumps({"error": explained}).encode())
        print(f"{explained['kind']}: {error}", file=sys.stderr)  # noqa: T201 - the driver's log
        return 1
    storage.write(job["report_key"], json.dumps(result).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
