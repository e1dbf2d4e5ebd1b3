"""A script that imports whatever an archive has, run by the archive's own interpreter."""

IMPORT_EVERYTHING = """
import importlib, sys
from pathlib import Path
packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
names = set()
compiled = [*packages.rglob("*.cpython-*.so"), *packages.rglob("*.abi3.so")]
for path in [*compiled, *packages.joinpath("engines").rglob("*.py")]:
    parts = path.relative_to(packages).with_name(path.name.split(".")[0]).parts
    names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
# What only a desktop has, and what only a driver has.
left_out = ("PIL._imagingtk", "engines.dask", "engines.spark", "engines.emr", "engines.registry")
for name in sorted(name for name in names if not name.startswith(left_out)):
    importlib.import_module(name)
print(len(names))
"""
