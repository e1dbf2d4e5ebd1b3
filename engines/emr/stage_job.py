"""The entry point of a job on EMR: runs one stage with the Spark engine of the session that is there.

Uploaded as one file and started by spark-submit with one argument, a JSON object: `stage`, `request`, `report_key`,
`progress_key`, `region`. Leaves the report, or the explained error, in the output; the process that submitted the job
reads it there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import time
from typing import Any

from engines.base import FeaturizeRequest, FitRequest, IndexRequest, Progress, ProjectRequest
from engines.core.errors import FruitsError, StorageError, TransientError
from engines.core.storage import open_storage

REQUESTS = {
    "index": IndexRequest,
    "featurize": FeaturizeRequest,
    "fit_pca": FitRequest,
    "project": ProjectRequest,
}

_SECONDS_BETWEEN_UPDATES = 5.0


def run_stage(stage: str, request: Any, progress_key: str) -> dict[str, Any]:
    """Run one stage on the Spark session that spark-submit gave; its progress goes to `progress_key` of the output.

    Returns its `report`, and as `facts` what computed it.
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
                # Nothing depends on it: a job does not end because nobody can see how far it is.
                print(f"progress: {error}", file=sys.stderr)  # noqa: T201 - the driver's log

    with SparkEngine() as engine:
        engine.on_progress = write_progress
        report = getattr(engine, stage)(request)
        facts = {"python": platform.python_version()}
        if "spark" in engine.describe():  # index needs none
            facts["spark"] = str(engine.describe()["spark"])
        return {"report": dataclasses.asdict(report), "facts": facts}


def main(argument: str) -> int:
    """Run what `argument` says; 0 when the stage is done, 1 when it failed with an explained error."""
    order = json.loads(argument)
    # The stage's region; EMR on EC2 sets none, and boto3 looks at this variable alone.
    os.environ.setdefault("AWS_DEFAULT_REGION", order["region"])
    request = REQUESTS[order["stage"]](**order["request"])
    storage = open_storage(request.output)
    try:
        left = run_stage(order["stage"], request, order["progress_key"])
    except FruitsError as error:
        explained = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
        storage.write(order["report_key"], json.dumps({"error": explained}).encode())
        print(f"{explained['kind']}: {error}", file=sys.stderr)  # noqa: T201 - the driver's log
        return 1
    storage.write(order["report_key"], json.dumps(left).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
