"""A script that imports whatever an archive has, run by the archive's own interpreter."""

IMPORT_EVERYTHING = """
import importlib, sys
from pathlib import Path
packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
names = {"engines.map_engine", "engines.core.stages.featurize", "engines.core.stages.project"}
for path in [*packages.rglob("*.cpython-*.so"), *packages.rglob("*.abi3.so")]:
    names.add(".".join(path.relative_to(packages).with_name(path.name.split(".")[0]).parts))
names.remove("PIL._imagingtk")  # needs tkinter, which only a desktop has
for name in sorted(names):
    importlib.import_module(name)
print(len(names))
"""
