"""An output, its files by kind, and what can happen to them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.core.output import read_record
from flows import chain
from flows.checks import check_settings
from flows.options.run import RunSettings
from tests.parity.chain import SequentialEngine

SHARD_SIZE = 8
COMPONENTS = 4

KINDS: dict[str, str] = {
    "record": "run.json",
    "report": "report.html",
    "manifest": "catalog/*.json",
    "catalog part": "catalog/*.parquet",
    "network": "models/*/network.bin",
    "recipe": "models/*/recipe.json",
    "canary": "models/*/canary.json",
    "features": "features/*.parquet",
    "rejects": "rejects/*.parquet",
    "pca": "pca/*/model.npz",
    "spectrum": "pca/*/spectrum.parquet",
    "part": "results/*/*.parquet",
}
"""Every kind of file of an output, as a pattern of its keys."""


def file_of(output: Path, kind: str) -> Path:
    """One file of a kind."""
    return sorted(output.glob(KINDS[kind]))[-1]


def flip(path: Path, other: Path, chance: random.Random) -> None:
    """Turn one bit."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, other: Path, chance: random.Random) -> None:
    """Cut the end off."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def empty(path: Path, other: Path, chance: random.Random) -> None:
    """Leave a file of no bytes."""
    path.write_bytes(b"")


def delete(path: Path, other: Path, chance: random.Random) -> None:
    """Remove it."""
    path.unlink()


def replace(path: Path, other: Path, chance: random.Random) -> None:
    """Put another whole file of this kind in its place."""
    path.write_bytes(other.read_bytes())


DAMAGE: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "flipped": flip,
    "truncated": truncate,
    "emptied": empty,
    "deleted": delete,
    "replaced": replace,
}


def run(source: Path, output: Path | str, weights: str, **options: object) -> chain.Outcome:
    """`fruits run`, on an engine that needs no cluster."""
    settings = RunSettings(
        source=str(source),
        output=str(output),
        weights=weights,
        components=COMPONENTS,
        shard_size=SHARD_SIZE,
        max_rejects=0.5,
        **options,  # type: ignore[arg-type]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "create_engine", lambda *_, **__: SequentialEngine())
        return chain.run(check_settings(settings), on_progress=lambda _: None)


def copied(output: Path, target: Path) -> Path:
    """A copy of an output, to be damaged."""
    return Path(shutil.copytree(output, target))


def parts_agree(output: Path) -> None:
    """Assert that what run.json says of the parts is true."""
    import hashlib

    for part in read_record(str(output)).parts:
        assert hashlib.sha256((output / part.key).read_bytes()).hexdigest() == part.sha256, part.key
