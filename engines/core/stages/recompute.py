"""Photos once more from their bytes to their projection: the workers' half of a recheck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.core.networks.features import features_of
from engines.core.networks.model import Model
from engines.core.reduce.pca import Pca, project
from engines.core.rejects import RejectedImageError
from engines.core.sources import Entry, open_source
from engines.core.stages.featurize import read_contents

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecomputeTask:
    """Some photos to compute again."""

    source: str
    entries: list[Entry]


def recompute(task: RecomputeTask, value: tuple[Model, Pca]) -> list[Float32 | str]:
    """The projected row of each photo, or why it cannot be decoded. Raises StorageError when one is gone."""
    model, pca = value
    source = open_source(task.source)
    outcomes: list[Float32 | str] = [""] * len(task.entries)
    for position, content in read_contents(source, task.entries):
        try:
            if isinstance(content, RejectedImageError):
                raise content
            features = features_of(content, model)
        except RejectedImageError as reject:
            outcomes[position] = f"{reject.reason}: {reject.detail}"
        else:
            outcomes[position] = project(pca, features[np.newaxis])[0]
    return outcomes
