"""`python -m tests.cpus.worker_half OUTPUT`: what a worker does, on this CPU, in an output that a driver has prepared.

The output holds a catalog, a model and a fitted PCA. Writes features and results; prints the digests of all of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from engines.core.index.catalog import read_catalog
from engines.core.layout import features_key
from engines.core.networks.canary import measure_canary
from engines.core.networks.model import read_model
from engines.core.output import Part
from engines.core.reduce.moments import Moments
from engines.core.reduce.pca import dump_pca, fit_pca, load_pca
from engines.core.stages.featurize import ShardTask, featurize_shard
from engines.core.stages.limits import PhotoLimits
from engines.core.stages.moments import MomentsTask, shard_moments
from engines.core.stages.project import ProjectTask, project_shard

COMPONENTS = 8

PATIENT = PhotoLimits(seconds=3600)
"""An emulated CPU takes minutes for what a real one does in a hundredth of a second."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def worker_half(output: Path) -> dict[str, str]:
    """Decode, network, moments and projection of every shard of the one catalog in `output`; then the PCA again."""
    catalog = read_catalog(str(output), next(output.glob("catalog/*.json")).stem)
    fingerprint = next(output.glob("models/*")).name
    content = next(output.glob("pca/*/model.npz")).read_bytes()
    model, pca = read_model(str(output), fingerprint), load_pca(content)
    features, results = hashlib.sha256(), hashlib.sha256()
    for number, shard in enumerate(catalog.shards):
        task = ShardTask(catalog.source, str(output), fingerprint, shard, limits=PATIENT)
        featurize_shard(task, model)
        features.update((output / features_key(fingerprint, shard.id)).read_bytes())
        key = f"results/{number}.parquet"
        part = project_shard(ProjectTask(str(output), fingerprint, shard, key, model.network.architecture, "pca"), pca)
        assert isinstance(part, Part), part
        results.update(part.sha256.encode())
    moments = shard_moments(MomentsTask(str(output), fingerprint, model.network.name, catalog.shards), None)
    assert isinstance(moments, Moments), moments
    return {
        "canary": measure_canary(model).digest,
        "features": features.hexdigest(),
        "moments": _digest(moments.sums.tobytes() + moments.high.tobytes() + moments.low.tobytes()),
        "pca": _digest(dump_pca(fit_pca(moments, COMPONENTS))),
        "results": results.hexdigest(),
    }


if __name__ == "__main__":
    json.dump(worker_half(Path(sys.argv[1])), sys.stdout)
