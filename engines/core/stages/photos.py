"""From the bytes of one photo to its features: in this process, or in one of its own that may die of it.

A photo can crash the decoder, never come back from it, or take more memory than the decoder foresaw. That is rare, so
that the first attempt at a shard takes no precautions but a timer: the worker dies. The next attempt takes each photo
in a process of its own, which shows which photo it is, whatever it does.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from engines.core.networks.images import decode
from engines.core.networks.model import Model
from engines.core.networks.runtimes import open_runtime
from engines.core.rejects import RejectedImageError
from engines.core.stages.limits import PhotoLimits, time_limit
from engines.core.stages.photo_process import PhotoProcess, PhotoProcessError

Float32 = npt.NDArray[np.float32]

TRIES = 3
"""So often a photo may end the process that has it in hand before it is a reject."""


class Photos(Protocol):
    """Computes the features of photos; a context manager."""

    def features(self, content: bytes) -> Float32:
        """float32[features] of a photo's file. Raises RejectedImageError for one that cannot be featurized."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DirectPhotos:
    """In this process, which ends when a photo takes longer than its limit."""

    def __init__(self, model: Model, limits: PhotoLimits) -> None:
        self._runtime = open_runtime(model)
        self._side = model.network.side
        self._limits = limits

    def features(self, content: bytes) -> Float32:
        """See Photos."""
        with time_limit(self._limits.seconds):
            return self._runtime.features(decode(content, self._side, self._limits.memory))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class IsolatedPhotos:
    """In a process of its own, started anew when a photo ends it.

    A photo that takes longer than its limit is a reject `timeout`; one that ended the process TRIES times is a reject
    `crashes_worker`. Raises StageError when no such process starts: that is no photo's fault.
    """

    def __init__(self, model: Model, limits: PhotoLimits) -> None:
        self._model = model
        self._limits = limits
        self._process: PhotoProcess | None = None

    def features(self, content: bytes) -> Float32:
        """See Photos."""
        how = ""
        for _ in range(TRIES):
            self._process = self._process or PhotoProcess(self._model, self._limits)
            try:
                return self._process.features(content)
            except PhotoProcessError as end:
                self._process = None
                if end.timeout:
                    detail = f"it takes longer than {self._limits.seconds:g} s"
                    raise RejectedImageError("timeout", detail) from end
                how = str(end)
        raise RejectedImageError(
            "crashes_worker", f"the process that decodes it was ended by {how}, each of {TRIES} times"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
