"""What a network is to this project: data, and a function that builds it with Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engines.core.reduce.grid import Grid


@dataclass(frozen=True)
class Network:
    """A convolutional network without its head: uint8[n, side, side, 3] -> float32[n, features].

    `name` is how a person asks for it, `architecture` how recipes name it: features of one architecture are computed
    the same way for ever, so a change of any field needs a new one. The graph begins with `x / divisor + offset`.
    `build` makes the Keras model behind that from "imagenet", None (random) or a file of weights; it imports Keras
    itself. Features lie on `grid`; what is out of its range stops a run.
    """

    name: str
    architecture: str
    side: int
    features: int
    grid: Grid
    divisor: float
    offset: float
    build: Callable[[str | None], Any]

    @property
    def preprocessing(self) -> str:
        """Names how an image file becomes the input, see `engines.core.networks.images`."""
        # Here, as the command line names networks, and decodes nothing.
        from engines.core.networks.images import preprocessing

        return preprocessing(self.side)
