"""The grid that features lie on: integers of 24 bits over the range of a network's features.

Features on a grid are what makes sums exact, see `engines.core.reduce.moments`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engines.core.errors import InputError

if TYPE_CHECKING:
    # A grid is also a part of what a network is, which the command line knows without numpy.
    import numpy as np
    import numpy.typing as npt

BITS = 24
"""float32 holds every integer of 24 bits exactly."""


@dataclass(frozen=True)
class Grid:
    """2**24 values from `low` up to, but not including, `high`; both are multiples of the step.

    `high - low` is a power of two, so that the step is one: 2**-21 = 4.8e-7 for [0, 8), a hundredth of the difference
    between LiteRT and Keras (5e-5).
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        mantissa, _ = math.frexp(self.high - self.low)
        if mantissa != 0.5 or self.low != int(self.low) or max(abs(self.low), abs(self.high)) > self.high - self.low:
            raise ValueError(f"[{self.low}, {self.high}) is no range of a grid: its width must be a power of two")

    @cached_property
    def fraction_bits(self) -> int:
        """Binary digits behind the point: the step is 2**-fraction_bits."""
        return BITS - int(math.log2(self.high - self.low))

    @property
    def step(self) -> float:
        """The distance of neighbours, a power of two."""
        return 2.0**-self.fraction_bits

    @property
    def lowest(self) -> int:
        """`low` in steps."""
        return int(self.low) << self.fraction_bits

    def snap(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The nearest values of the grid; same shape, exact in float32.

        Raises InputError for values that are not finite or out of range: the weights are not those of a network whose
        features lie in it.
        """
        import numpy as np

        self._check_range(features)
        snapped = np.rint(features.astype(np.float64) * 2.0**self.fraction_bits) * self.step
        self._check_range(snapped)  # again: what is just below `high` is rounded up
        return snapped.astype(np.float32)

    def integers(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Features on the grid as whole numbers in [0, 2**24), in steps above `low`, float64 of the same shape.

        Raises InputError for values out of range, ValueError for values off the grid.
        """
        import numpy as np

        self._check_range(features)
        whole = features.astype(np.float64) * 2.0**self.fraction_bits
        if not np.array_equal(whole, np.rint(whole)):
            raise ValueError(f"features are not multiples of 2**-{self.fraction_bits}; see Grid.snap")
        return whole - self.lowest

    def _check_range(self, features: npt.NDArray[np.floating]) -> None:
        if features.size and not (features.min() >= self.low and features.max() < self.high):
            raise InputError(
                f"features must be finite and in [{self.low:g}, {self.high:g}), "
                f"found {features.min():g} to {features.max():g}",
                "The weights do not fit the network: check --network and --weights.",
            )
