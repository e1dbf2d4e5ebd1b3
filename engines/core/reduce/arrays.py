"""Arrays as one npz file whose bytes depend on the arrays alone."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_parsing = threading.Lock()
"""numpy has Python parse the header of each array, which two threads at once make fail with a SystemError now and then
(python/cpython#106905, Python 3.11 and 3.12)."""


def dump_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The arrays as npz (no pickle), read by `load_arrays`. Equal arrays give equal bytes, with any Python."""
    sink = io.BytesIO()
    # Not by np.savez: what it streams has other zip headers from one Python to the next.
    with zipfile.ZipFile(sink, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    return sink.getvalue()


def load_arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `dump_arrays`, in any thread. Raises ValueError, or what `zipfile` raises, for other content."""
    with _parsing, np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
