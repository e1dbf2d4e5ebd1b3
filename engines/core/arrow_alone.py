"""pyarrow without pandas, which it imports where it is installed: half a second, and 50 MB."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not looked for here", name=fullname)


def without_pandas() -> None:
    """Have pyarrow make arrays without a look for pandas, in a process that is ours alone and gives it no Series.

    What asks pyarrow for pandas by name (`to_pandas`) has it imported then, as ever.
    """
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    hidden = _NoPandas()
    sys.meta_path.insert(0, hidden)
    try:
        pa.array([0])  # at its first array it tries to import pandas, once, and remembers whether it was there
    finally:
        sys.meta_path.remove(hidden)
