"""`huggingface`: a dataset for the Hugging Face Hub, with its card."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engines.published.export.base import VECTOR, Exported

_SPLIT = "split"

_CARD = """---
pretty_name: {name}
tags:
- image-features
- {network}
configs:
- config_name: default
  data_files:
{files}
---

# {name}

{rows:,} images of {labels:,} classes, as `{vector}`: {width} numbers each, float32.

| | |
|---|---|
| network | {network} |
| weights | {weights} |
| components | {width}, which explain {explained:.2%} of the variance |
| distance | {metric} |
| fingerprint of the model | `{fingerprint}` |
| PCA | `{pca}` |

The features of the network were standardized and projected on their principal components. Vectors of equal fingerprint
and PCA may be compared, others may not.

```python
from datasets import load_dataset

dataset = load_dataset("path/to/this/folder")
```
"""


def write_huggingface(rows: Exported, folder: str) -> None:
    """Write `data/SPLIT-*.parquet` and `README.md`, the card. Vectors have a fixed length in the features.

    The splits are those of the column `split`, if the results have one; else all rows are in `train`.
    """
    os.mkdir(os.path.join(folder, "data"))
    splits: dict[str, int] = {}
    for part in rows.fixed_width_parts():
        names = part[_SPLIT].to_pylist() if _SPLIT in part.column_names else ["train"] * part.num_rows
        for name in sorted(set(names)):
            chosen = part.filter(pa.array([each == name for each in names]))
            split = re.sub(r"\W+", "_", name) or "no_split"
            number = splits.get(split, 0)
            splits[split] = number + 1
            features = json.dumps({"info": {"features": _features(chosen.schema)}})
            table = chosen.replace_schema_metadata({"huggingface": features})
            pq.write_table(table, os.path.join(folder, "data", f"{split}-{number:05d}.parquet"), compression="zstd")
    files = "\n".join(f'  - split: {split}\n    path: "data/{split}-*.parquet"' for split in splits)
    facts = rows.facts
    card = _CARD.format(
        name="fruit features",
        files=files,
        rows=rows.rows,
        labels=rows.record.counts.labels,
        vector=VECTOR,
        width=facts["width"],
        network=facts["network"].partition(",")[0],
        weights=_text(rows.record.model.recipe["weights"]),
        explained=rows.record.explained_variance,
        metric=facts["metric"],
        fingerprint=facts["fingerprint"],
        pca=facts["pca"],
    )
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as file:
        file.write(card)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The schema as the library `datasets` writes it."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def _text(value: str) -> str:
    """A file's name as text of a table of Markdown."""
    return "".join(f"\\{character}" if character in "\\|`*_<>[]" else character for character in value)
