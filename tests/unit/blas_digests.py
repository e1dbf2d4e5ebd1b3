"""Run by test_same_bits in a process of its own: digests of what this process' BLAS computes, as JSON."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.reduce.moments import moments_of
from engines.core.reduce.pca import dump_pca, fit_pca, project

Float32 = npt.NDArray[np.float32]


def _photos_like(rows: int, width: int = 320, seed: int = 0) -> Float32:
    """Correlated features with a falling spectrum. Without BLAS, whose bits are what is tested."""
    random = np.random.default_rng(seed)
    features = np.full((rows, width), 1.0) + random.normal(0, 0.05, (rows, width))
    for strength in np.linspace(0.4, 0.05, 40):
        features += strength * random.normal(size=(rows, 1)) * random.normal(size=width)
    return MOBILENET_V2.grid.snap(np.clip(features, 0, 6).astype(np.float32))


def _independent_twins() -> Float32:
    """Every pair of rows of a small table, side by side: both halves have one spectrum, so each eigenvalue is twice."""
    table = _photos_like(16, 12, seed=1)
    left, right = np.divmod(np.arange(16 * 16), 16)
    return np.concatenate([table[left], table[right]], axis=1)


def _with_constants() -> Float32:
    features = _photos_like(150, 200)
    features[:, ::3] = 1.5
    return features


def _with_near_constants() -> Float32:
    features = _photos_like(150, 200)
    features[:, ::3] = 0.0
    features[np.arange(0, 67), np.arange(0, 200, 3)] = 2.0**-21  # each in one photo, by the smallest step
    return features


CASES: dict[str, tuple[Float32, float]] = {
    "a falling spectrum": (_photos_like(600), 64),
    "1280 features": (_photos_like(400, 1280), 128),
    "a share": (_photos_like(600), 0.95),
    "all components": (_photos_like(600), 320),
    "constant features": (_with_constants(), 60),
    "features of one photo": (_with_near_constants(), 60),
    "more components than features vary": (_with_constants(), 140),
    "duplicated photos": (np.repeat(_photos_like(30), 4, axis=0), 60),
    "duplicated features": (np.repeat(_photos_like(100, 40), 3, axis=1), 60),
    "one photo more than components": (_photos_like(65), 64),
    "eigenvalues that are there twice": (_independent_twins(), 9),
    "two features": (_photos_like(50, 2), 2),
    "one feature": (_photos_like(50, 1), 1),
}


def digests() -> dict[str, list[str]]:
    """Of each case: the moments, the fitted PCA, the results, and the numbers of components that a rule chose."""
    answer = {}
    for name, (features, components) in CASES.items():
        moments = moments_of([features], features.shape[1], MOBILENET_V2.grid)
        pca = fit_pca(moments, components)
        parts = (moments.sums.tobytes() + moments.high.tobytes() + moments.low.tobytes(), dump_pca(pca))
        values = project(pca, features)
        answer[name] = [
            *(hashlib.sha256(part).hexdigest() for part in (*parts, values.tobytes())),
            f"tied {list(pca.tied)}",
            f"unsettled {list(pca.unsettled)}",
        ]
    return answer


if __name__ == "__main__":
    architecture = [module["architecture"] for module in threadpool_info() if module["internal_api"] == "openblas"]
    json.dump({"architecture": architecture, "digests": digests()}, sys.stdout)
