"""The fitted PCA, and moments, in their output: written with its seal, read and proven.

Equal PCAs are equal bytes, whatever their versions: their seal does not say the folder. Whether a PCA is the one of its
folder is known of the spectrum beside it, which has its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from engines.core import tables
from engines.core.errors import DamagedError
from engines.core.layout import pca_key, spectrum_key
from engines.core.proof.reading import damaged, parsed, read_proven, read_table, sealed_npz, sealed_table
from engines.core.reduce.moments import Moments, dump_moments, load_moments
from engines.core.reduce.pca import Pca, dump_pca, load_pca, spectrum_table
from engines.core.storage import open_storage

_SEALED_AS = "model.npz"


def write_pca(output: str, folder: str, pca: Pca, facts: Mapping[str, Any] | None = None) -> None:
    """Put the PCA and its spectrum into a folder of the output. The PCA is written last: its commit.

    `facts`: JSON-able, kept with the spectrum; read back by `pca_facts`.
    """
    storage, key, spectrum = open_storage(output), pca_key(folder), spectrum_key(folder)
    content = sealed_npz(dump_pca(pca), _SEALED_AS)
    known = {"model_sha256": hashlib.sha256(content).hexdigest(), **(facts or {})}
    storage.write(spectrum, sealed_table(spectrum_table(pca), spectrum, known))
    storage.write(key, content)


def read_pca(output: str, folder: str) -> Pca:
    """The PCA of a folder of the output. Raises DamagedError for it and for its spectrum, which vouches for it."""
    storage, key = open_storage(output), pca_key(folder)
    digest = _model_digest(read_table(storage, spectrum_key(folder)))
    content = read_proven(storage, key, _SEALED_AS).content
    if digest and digest != hashlib.sha256(content).hexdigest():
        raise damaged(storage, key, "foreign", "it is not the PCA that its spectrum is of")
    return parsed(storage, key, load_pca, content)


def prove_pca(output: str, folder: str) -> bool:
    """Whether the PCA carries a seal; its spectrum is not looked at. Raises DamagedError."""
    storage, key = open_storage(output), pca_key(folder)
    proven = read_proven(storage, key, _SEALED_AS)
    parsed(storage, key, load_pca, proven.content)
    return proven.sealed


def pca_facts(output: str, folder: str) -> dict[str, Any]:
    """The facts given to `write_pca`. Raises DamagedError; KeyError where none were given."""
    return tables.metadata_of(read_table(open_storage(output), spectrum_key(folder)).schema)


def write_moments(output: str, key: str, moments: Mapping[str, Moments]) -> None:
    """Put moments by their names into the output."""
    open_storage(output).write(key, sealed_npz(dump_moments(moments), key))


def read_moments(output: str, key: str) -> dict[str, Moments]:
    """What `write_moments` put there. Raises DamagedError."""
    storage = open_storage(output)
    return parsed(storage, key, load_moments, read_proven(storage, key).content)


def find_pca(output: str, folder: str) -> tuple[Pca | None, list[str]]:
    """The PCA that is there, if it is and holds, and in words what is damaged of it."""
    if not open_storage(output).exists(pca_key(folder)):
        return None, []
    try:
        return read_pca(output, folder), []
    except DamagedError as error:
        return None, [error.message]


def _model_digest(spectrum: pa.Table) -> str:
    """What a spectrum says of its PCA; "" for one of before it did."""
    try:
        return str(tables.metadata_of(spectrum.schema)["model_sha256"])
    except KeyError:
        return ""
