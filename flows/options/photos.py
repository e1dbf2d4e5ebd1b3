"""The parameters that say which files of a source are a run's photos, and what each of them is."""

from __future__ import annotations

from typing import Annotated

from engines.core.index.labelling import LABELS, Labelling
from engines.core.index.selection import Selection
from flows.signatures import Option

Glob = Annotated[
    list[str] | str | None,
    Option(
        "Which files are images, by name, or by path below SOURCE if the pattern has a slash; upper and lower case "
        "differ. May be repeated. By default every name of a format that is decoded, such as .jpg or .PNG.",
        metavar="GLOB",
        examples=("*.jpg", "Training/*/*.png"),
        repeated=True,
    ),
]
Exclude = Annotated[
    list[str] | str | None,
    Option(
        "Leave out files and folders of this name, or path below SOURCE if the pattern has a slash. May be repeated.",
        metavar="GLOB",
        examples=("lost+found", "*_mask.png", "Training/Bad*"),
        repeated=True,
    ),
]
Hidden = Annotated[
    bool, Option("Take hidden files and folders too, and what systems leave beside photos.", flags=("--hidden",))
]
Labels = Annotated[
    str,
    Option(
        "Where labels come from: the folder a photo lies in (see --label-depth), a column of metadata (see "
        "--label-column and --metadata), or a regular expression (see --label-regex).",
        choices=LABELS,
        metavar="LABELS",
    ),
]
LabelDepth = Annotated[
    int | None,
    Option(
        "Which folder is the label: 1 is the first below SOURCE, -1 the one a photo lies in (as by default), -2 the "
        "one above.",
        metavar="N",
    ),
]
LabelRegex = Annotated[
    str | None,
    Option(
        "Searched for in each photo's path below SOURCE: its group `(?P<label>...)` is the label, "
        "`(?P<split>...)` the split.",
        metavar="REGEX",
        examples=(r"(?P<label>[a-z]+)_\d+\.jpg",),
    ),
]
LabelColumn = Annotated[str, Option("The column of the metadata with the labels.", metavar="NAME")]
Metadata = Annotated[
    str | None,
    Option(
        "A csv, jsonl or parquet file with a column file_name, relative to SOURCE. By default every metadata.csv, "
        ".jsonl or .parquet beside the photos, with file_name relative to its own folder.",
        metavar="FILE",
        examples=("labels.csv", "s3://bucket/labels.parquet"),
    ),
]
KeepColumns = Annotated[
    list[str] | str | None,
    Option(
        "Columns of the metadata that travel into the results.",
        metavar="NAME,NAME",
        examples=("weight,variety",),
        repeated=True,
    ),
]
SplitDepth = Annotated[
    int | None,
    Option(
        "Which folder is the split (counted as in --label-depth): a column of the results. Usual names become train, "
        "validation and test.",
        metavar="N",
    ),
]
SplitColumn = Annotated[str | None, Option("The column of the metadata with the splits.", metavar="NAME")]
FitSplit = Annotated[
    str | None,
    Option("Fit standardization and PCA to the photos of this split, and project all.", metavar="SPLIT"),
]


class TakesPhotos:
    """Settings with these parameters."""

    __slots__ = ()

    glob: Glob
    per_class: int | None
    images: int | None
    exclude: Exclude
    hidden: Hidden
    labels: Labels
    label_depth: LabelDepth
    label_regex: LabelRegex
    label_column: LabelColumn
    metadata: Metadata
    keep_columns: KeepColumns
    split_depth: SplitDepth
    split_column: SplitColumn

    @property
    def selection(self) -> Selection:
        """Which images of the source are taken; the size of shards is the usual one."""
        return Selection(
            glob=listed(self.glob),
            per_class=self.per_class,
            images=self.images,
            exclude=listed(self.exclude),
            hidden=self.hidden,
        )

    @property
    def labelling(self) -> Labelling:
        """How they get their labels, splits and columns."""
        return Labelling(
            labels=self.labels,
            label_depth=self.label_depth,
            label_regex=self.label_regex,
            label_column=self.label_column,
            metadata=self.metadata,
            keep_columns=tuple(name for names in listed(self.keep_columns) for name in names.split(",") if name),
            split_depth=self.split_depth,
            split_column=self.split_column,
        )


def listed(value: list[str] | str | None) -> tuple[str, ...]:
    """One value, or several, or none."""
    return (value,) if isinstance(value, str) else tuple(value or ())
