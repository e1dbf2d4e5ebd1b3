"""A frozen PCA in place of one that is fitted: the driver's half."""

from __future__ import annotations

from collections.abc import Callable

from engines.base import FitReport, FitRequest
from engines.core.index.catalog import Shard
from engines.core.layout import pca_folder
from engines.core.reduce.frozen import explained_by
from engines.core.reduce.kept import find_pca, pca_facts, read_pca, write_pca
from engines.core.reduce.moments import Moments
from engines.core.reduce.pca import RULES
from engines.reuse import prove_features, short_digest


def measure_frozen(request: FitRequest, shards: list[Shard], moments: Callable[[], Moments]) -> FitReport:
    """The PCA `request.frozen` as it is, with a version of its own for these photos, and how it explains them.

    A version of its own, because results lie in the folder of their PCA, and these are of other photos. `moments` has
    those of the photos computed; it is called where a former run has not.
    """
    pca = read_pca(request.output, pca_folder(request.frozen))
    facts = [RULES, request.frozen, request.fingerprint, [shard.id for shard in shards], request.content]
    version = short_digest(["frozen", *facts])
    folder = pca_folder(version)
    there, damage = find_pca(request.output, folder)
    if there is None:
        explained = explained_by(pca, moments())
        write_pca(request.output, folder, pca, {"frozen": request.frozen, "explained_variance": explained})
    else:
        prove_features(request.output, request.fingerprint, shards)
        explained = float(pca_facts(request.output, folder)["explained_variance"])
    return FitReport(
        pca=version,
        components=len(pca.components),
        explained_variance=explained,
        components_for_95=pca.components_for(0.95),
        reused=there is not None,
        tied=list(pca.tied),
        unsettled=list(pca.unsettled),
        damage=damage,
        frozen_variance=pca.explained_variance,
    )
