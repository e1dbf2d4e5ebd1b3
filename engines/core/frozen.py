"""A PCA that is taken from former results in place of one that is fitted, so that vectors stay comparable."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow.parquet as pq

from engines.core import tables
from engines.core.errors import InputError
from engines.core.layout import RECORD, pca_folder, pca_key
from engines.core.output import read_record
from engines.core.reduce.kept import read_pca, write_pca
from engines.core.reduce.pca import Pca
from engines.core.storage import normalize_location, open_storage

VERSION = re.compile(r"[0-9a-f]{16}")
"""How versions of PCAs are spelled."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A PCA that was found: `version` in the output `location`, fitted to features of the model `fingerprint`."""

    location: str
    version: str
    fingerprint: str

    def read(self) -> Pca:
        """The PCA."""
        return read_pca(self.location, pca_folder(self.version))


def find_frozen(asked: str, output: str) -> Frozen:
    """The PCA that `asked` names: a version in `pca/` of `output`, or the output whose published PCA is meant.

    One that published with a frozen PCA names the one it had. Raises InputError where there is none.
    """
    if VERSION.fullmatch(asked):
        return Frozen(output, asked, _fingerprint_of(asked, output))
    location = normalize_location(asked)
    record = read_record(location)
    folder = record.frozen_pca.pca if record.frozen_pca else record.pca
    return Frozen(location, folder.rpartition("/")[2], record.model.fingerprint)


def adopt(frozen: Frozen, output: str, fingerprint: str) -> Frozen:
    """Put the PCA into `output`, unless it is there, under the version it has.

    Raises InputError when it was fitted to features of another model than `fingerprint`.
    """
    if frozen.fingerprint != fingerprint:
        raise InputError(
            f"the PCA {frozen.version} of {frozen.location} was fitted to features of the model {frozen.fingerprint}, "
            f"and this run's are of {fingerprint}",
            "Use the same network, weights, runtime and library versions, or fit anew: leave out --frozen-pca.",
        )
    if not open_storage(output).exists(pca_key(pca_folder(frozen.version))):
        write_pca(output, pca_folder(frozen.version), frozen.read())
    return frozen


def _fingerprint_of(version: str, output: str) -> str:
    """The model whose features the PCA of this version was fitted to: the record knows, or the results it gave."""
    storage = open_storage(output)
    if storage.exists(pca_key(pca_folder(version))):
        if storage.exists(RECORD):
            record = read_record(output)
            of_record = {record.pca, record.frozen_pca.pca if record.frozen_pca else ""}
            if pca_folder(version) in of_record:
                return record.model.fingerprint
        for item in storage.list("results"):
            if re.match(rf"results/{version}[-/]", item.key):
                with storage.open(item.key) as file:
                    facts = tables.metadata_of(pq.read_schema(file))
                return str(facts["fingerprint"])
    raise InputError(
        f"{output} has no PCA {version} whose model is known",
        "Name one of its pca/ folders, or the output that published it.",
    )
