"""Two tables of results or features side by side, as streams of rows in the order of their keys."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

_EXAMPLES = 3

Float32 = npt.NDArray[np.float32]


@dataclass(slots=True)
class RowsComparison:
    """One table of both outputs. `largest_difference` is of values, in their own unit.

    `only_in_a`, `only_in_b` and `other_labels` count images; `examples` names some of them.
    """

    images: int = 0
    only_in_a: int = 0
    only_in_b: int = 0
    other_labels: int = 0
    differing_values: int = 0
    largest_difference: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def same_images(self) -> bool:
        """Whether both have the same images under the same labels."""
        return not (self.only_in_a or self.only_in_b or self.other_labels)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in the order of their keys; never empty. `labels`: all that is said of each; `values` is [n, d]."""

    keys: list[str]
    labels: list[Any]
    values: Float32

    def split(self, bound: str) -> tuple[Rows, Rows | None]:
        """The rows up to the key `bound`, and those behind it."""
        cut = bisect_right(self.keys, bound)
        first = Rows(self.keys[:cut], self.labels[:cut], self.values[:cut])
        if cut == len(self.keys):
            return first, None
        return first, Rows(self.keys[cut:], self.labels[cut:], self.values[cut:])


def paired(left: Iterator[Rows], right: Iterator[Rows], found: RowsComparison) -> Iterator[tuple[Float32, Float32]]:
    """The values of the images that both have, in blocks of equal shape; fills `found`."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        bound = min(rows.keys[-1] for rows in (a, b) if rows is not None)
        a_now, a = a.split(bound) if a else (None, None)
        b_now, b = b.split(bound) if b else (None, None)
        a_index = {key: index for index, key in enumerate(a_now.keys if a_now else [])}
        b_index = {key: index for index, key in enumerate(b_now.keys if b_now else [])}
        common = [key for key in a_index if key in b_index]
        missing = [key for key in (*a_index, *b_index) if (key in a_index) != (key in b_index)]
        found.images += len(common)
        found.only_in_a += len(a_index) - len(common)
        found.only_in_b += len(b_index) - len(common)
        relabelled = []
        if a_now and b_now and common:
            rows_a, rows_b = [a_index[key] for key in common], [b_index[key] for key in common]
            pairs = zip(common, rows_a, rows_b, strict=True)
            relabelled = [key for key, i, j in pairs if a_now.labels[i] != b_now.labels[j]]
            found.other_labels += len(relabelled)
            values = a_now.values[rows_a], b_now.values[rows_b]
            if values[0].shape == values[1].shape:
                _count_differences(*values, found)
                yield values
        found.examples += [*missing, *relabelled][: _EXAMPLES - len(found.examples)]
        a = a or next(left, None)
        b = b or next(right, None)


def _count_differences(left: Float32, right: Float32, found: RowsComparison) -> None:
    # By their bits: values that are not numbers are equal to nothing, -0.0 is equal to 0.0.
    found.differing_values += int((left.view(np.uint32) != right.view(np.uint32)).sum())
    largest = np.abs(left.astype(np.float64) - right).max(initial=0.0)
    # A comparison with NaN is never true: NaN has to win.
    found.largest_difference = float(np.maximum(found.largest_difference, largest))
