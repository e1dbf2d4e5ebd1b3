"""What the labels of the nearest rows say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """The label that most of the neighbours have, and the share of all neighbours that have it, in (0, 1]."""

    label: str
    share: float


def vote(labels: Sequence[str]) -> Vote | None:
    """The plurality of `labels`, which are in the order of their distance: of equal counts, the nearest one's.

    Neighbours without a label ("") have no vote, but count for the share. None if no neighbour has a label.
    """
    counts = Counter(label for label in labels if label)
    if not counts:
        return None
    # Counter keeps the order of first meeting, and max takes the first of equals.
    label = max(counts, key=lambda each: counts[each])
    return Vote(label, counts[label] / len(labels))
