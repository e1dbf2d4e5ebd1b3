"""How it is found what each photo is: its label, its split, and columns that are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engines.core.errors import InputError

LABELS = ("folder", "metadata", "regex")
"""Where labels come from."""

RESERVED = ("path", "label", "pcaFeatures", "split")
"""Columns of the results, whose names no kept column can have."""

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""The usual names of splits, in lower case, by those that Hugging Face's datasets give them."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """How photos get their label, their split and further columns.

    `labels`: `folder`, the one a photo lies in, or what its source says; with `label_depth` another one: 1 is the first
    below the source, -1 the one that the photo lies in, -2 the one above. `metadata`: the column `label_column` of the
    metadata. `regex`: the group `label` of `label_regex`, which is searched for in the photo's key.

    Splits: the folder of `split_depth`, the column `split_column` of the metadata, or the group `split` of
    `label_regex`; usual names become train, validation and test (see SPLITS). `keep_columns`: columns of the metadata
    that travel into the results. `metadata` is a file's location, see `engines.core.index.metadata`; where neither it
    nor metadata files are there, columns are those of the source itself.
    """

    labels: str = "folder"
    label_depth: int | None = None
    label_regex: str | None = None
    label_column: str = "label"
    metadata: str | None = None
    keep_columns: tuple[str, ...] = ()
    split_depth: int | None = None
    split_column: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_columns", tuple(self.keep_columns))  # JSON has lists

    @property
    def own_labels(self) -> bool:
        """Whether labels are those that the source itself gives."""
        return self.labels == "folder" and self.label_depth is None

    @property
    def has_splits(self) -> bool:
        """Whether photos have a split."""
        return self.split_depth is not None or self.split_column is not None or "split" in _groups(self)

    @property
    def texts(self) -> list[str]:
        """The columns of the metadata that labels and splits are made of."""
        labels = [self.label_column] if self.labels == "metadata" else []
        return labels + ([self.split_column] if self.split_column is not None else [])


def check_labelling(labelling: Labelling) -> None:
    """Raise InputError for what contradicts itself or cannot be."""
    if labelling.labels not in LABELS:
        raise InputError(f"unknown --labels {labelling.labels!r}", f"Choose one of: {', '.join(LABELS)}.")
    _check_regex(labelling)
    if labelling.label_depth is not None and labelling.labels != "folder":
        raise InputError(f"--label-depth is not for --labels {labelling.labels}", "Leave one of them out.")
    for name, depth in (("label-depth", labelling.label_depth), ("split-depth", labelling.split_depth)):
        if depth == 0:
            raise InputError(f"--{name} cannot be 0", "1 is the first folder below the source, -1 the photo's own.")
    if sum((labelling.split_depth is not None, labelling.split_column is not None, "split" in _groups(labelling))) > 1:
        raise InputError(
            "splits come from more than one place", "Leave one: --split-depth, --split-column, (?P<split>)."
        )
    if clash := [name for name in labelling.keep_columns if name in RESERVED]:
        raise InputError(
            f"--keep-columns cannot keep {clash[0]!r}: the results have a column of that name", "Rename it."
        )
    if labelling.metadata is not None and not (labelling.texts or labelling.keep_columns):
        raise InputError(
            "nothing is taken from the metadata", "Add --labels metadata, --keep-columns NAME or --split-column NAME."
        )


def _check_regex(labelling: Labelling) -> None:
    if (labelling.labels == "regex") != (labelling.label_regex is not None):
        raise InputError(
            "--labels regex and --label-regex go together",
            r"Such as --labels regex --label-regex '(?P<label>\w+)_\d+'.",
        )
    try:
        groups = _groups(labelling)
    except re.error as error:
        raise InputError(
            f"--label-regex {labelling.label_regex!r} is no regular expression: {error}", "Mend it."
        ) from error
    if labelling.label_regex is not None and "label" not in groups:
        raise InputError(
            f"--label-regex {labelling.label_regex!r} has no group named label", r"Write (?P<label>...) around it."
        )


def _groups(labelling: Labelling) -> Mapping[str, int]:
    return re.compile(labelling.label_regex).groupindex if labelling.label_regex is not None else {}


def folder_at(key: str, depth: int) -> str:
    """The name of a folder of a key: 1 is the first below the source, -1 the one it lies in; "" if there is none."""
    folders = key.split("/")[:-1]
    position = depth - 1 if depth > 0 else depth
    return folders[position] if -len(folders) <= position < len(folders) else ""


def split_name(name: str) -> str:
    """The name of a split: train, validation or test for the usual ones, see SPLITS; any other as it is."""
    return SPLITS.get(name.lower(), name)
