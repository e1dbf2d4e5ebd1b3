"""What a run would take of a source, counted: nothing is computed, nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engines.core.index.labeller import Labeller, photos_of
from engines.core.index.labelling import Labelling
from engines.core.index.selection import LeftOut, Selection, check_not_empty
from engines.core.networks.image_formats import DECODED_ENDINGS, ending
from engines.core.sources import open_source


@dataclass(frozen=True, slots=True)
class Overview:
    """Photos by label, split and format, each in falling order; `bytes` of all files together.

    `formats` go by the endings of names; `labels_by_split` has the labels of each split, if there are splits.
    `left_out` and `remarks`: see `engines.core.index.catalog.Catalog`.
    """

    source: str
    photos: int
    bytes: int
    labels: dict[str, int]
    formats: dict[str, int]
    left_out: dict[str, dict[str, int]]
    left_out_by_case: int
    splits: dict[str, int] = field(default_factory=dict)
    labels_by_split: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def look_at(source: str, selection: Selection, labelling: Labelling) -> Overview:
    """Count what a run would take of `source`. Raises InputError as `engines.core.index.catalog.write_catalog`."""
    photos, left_out = open_source(source), LeftOut()
    labeller = Labeller(photos, labelling, selection)
    labels: Counter[tuple[str, str]] = Counter()
    formats: Counter[str] = Counter()
    size = 0
    for entry in photos_of(photos, selection, labeller, left_out):
        labels[entry.split, entry.label] += 1
        kind = ending(entry.path)
        formats[DECODED_ENDINGS.get(kind, f".{kind}" if kind else "(no ending)")] += 1
        size += entry.size
    check_not_empty(photos, selection, labels.total(), left_out)
    by_label: Counter[str] = Counter()
    by_split: dict[str, Counter[str]] = {}
    for (split, label), count in labels.items():
        by_label[label] += count
        by_split.setdefault(split, Counter())[label] += count
    if not labelling.has_splits:
        by_split = {}
    splits = Counter({split: counts.total() for split, counts in by_split.items()})
    return Overview(
        source=source,
        photos=labels.total(),
        bytes=size,
        labels=_falling(by_label),
        formats=_falling(formats),
        left_out=left_out.in_order(),
        left_out_by_case=left_out.by_case,
        splits=_falling(splits),
        labels_by_split={split: _falling(by_split[split]) for split in _falling(splits)},
        remarks=left_out.remarks() + labeller.remarks(),
    )


def _falling(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
