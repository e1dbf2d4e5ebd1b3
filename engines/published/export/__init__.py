"""Published results in the formats that other programs take: a file per format, and a row in FORMATS."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engines.core.output import read_record
from engines.core.storage import normalize_location
from engines.published.export.base import Exported
from engines.published.export.csv_table import write_csv
from engines.published.export.embedding_atlas import write_embedding_atlas
from engines.published.export.huggingface import write_huggingface
from engines.published.export.lance_table import write_lance
from engines.published.export.npy import write_npy
from engines.published.export.usearch_index import write_usearch
from engines.published.targets import new_folder

__all__ = ["FORMATS", "export"]

FORMATS: Mapping[str, Callable[[Exported, str], None]] = {
    "huggingface": write_huggingface,
    "npy": write_npy,
    "lance": write_lance,
    "usearch": write_usearch,
    "embedding-atlas": write_embedding_atlas,
    "csv": write_csv,
}
"""Each writes all rows of an output into a folder that is there and empty."""


def export(output: str, form: str, folder: str) -> Exported:
    """Write what is published at `output` into the new local folder `folder`, which appears when it is whole.

    Raises InputError for nothing published, a folder that is not empty or cannot be written, and a format whose package
    is not installed.
    """
    location = normalize_location(output)
    rows = Exported(location, read_record(location))
    with new_folder(folder) as unfinished:
        FORMATS[form](rows, unfinished)
    return rows
