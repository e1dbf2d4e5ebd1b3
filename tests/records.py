"""A record of a run, for tests to which most of what it says does not matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engines.core.layout import RECORD
from engines.core.output import RunRecord
from engines.core.proof.reading import sealed_json

PUBLISHED: dict[str, Any] = {
    "format": 1,
    "source": "/photos",
    "results": "results/p",
    "counts": {
        "listed": 10,
        "featurized": 10,
        "rejected": 0,
        "projected": 10,
        "reused": 0,
        "labels": 3,
        "left_out": 1,
        "left_out_by_case": 0,
    },
    "rejected_by_reason": {},
    "components": 8,
    "explained_variance": 0.5,
    "components_for_95": 20,
    "engine": "dask",
    "engine_details": {"workers": 2},
    "parameters": {"engine": "dask", "workers": 2, "scheduler": None, "emr": None, "glob": "*.jpg"},
    "model": {
        "fingerprint": "f",
        "architecture": "MobileNetV2 1.0 224, global average pooling",
        "weights": "random",
        "runtime": "litert",
    },
    "catalog": "catalog/c.json",
    "pca": "pca/p",
    "versions": {"prefect": "3.8.8"},
    "timings": {"featurize": 12.5},
    "finished": "2026-01-01T00:00:00+00:00",
    "parts": [{"key": "results/p/part-0", "rows": 10, "sha256": "0"}],
}


def edit_record(output: Path, **changes: Any) -> None:
    """Change what run.json says, as a run would have written it."""
    path = output / RECORD
    plain = json.loads(path.read_text())
    del plain["seal"]
    path.write_bytes(sealed_json(plain | changes, RECORD))


def record_with(change: dict[str, Any]) -> RunRecord:
    """PUBLISHED, but for what `change` says."""
    return RunRecord.from_json(PUBLISHED | change)
