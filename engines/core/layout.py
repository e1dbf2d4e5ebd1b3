"""Where everything lies in an output: the keys of its files."""

from __future__ import annotations

RECORD = "run.json"
"""Replacing it is the commit: until then, readers see the former results."""

REPORT = "report.html"
CATALOGS = "catalog"
FEATURES = "features"
REJECTS = "rejects"
CHECKS = "checks"

FORMER = "records"
"""Records of runs that were published before, so that their results can be told from what is left of them."""


def catalog_key(catalog: str) -> str:
    """The manifest of the catalog of this version."""
    return f"{CATALOGS}/{catalog}.json"


def catalog_part_key(digest: str) -> str:
    """A part of a catalog, named after its content."""
    return f"{CATALOGS}/part-{digest[:20]}.parquet"


def catalog_part_digest(key: str) -> str:
    """The beginning of the SHA-256 of a part of a catalog, by its key."""
    return key.removeprefix(f"{CATALOGS}/part-").removesuffix(".parquet")


def features_key(fingerprint: str, shard: str) -> str:
    """The features of a shard; depends on its images and on the model, so equal names hold equal bytes."""
    return f"{FEATURES}/{fingerprint}-{shard}.parquet"


def rejects_key(fingerprint: str, shard: str) -> str:
    """The rejects of a shard, if it has any."""
    return f"{REJECTS}/{fingerprint}-{shard}.parquet"


def network_key(fingerprint: str) -> str:
    """The converted network of a model."""
    return f"models/{fingerprint}/network.bin"


def recipe_key(fingerprint: str) -> str:
    """The recipe of a model, written last: the model's commit."""
    return f"models/{fingerprint}/recipe.json"


def canary_key(fingerprint: str) -> str:
    """What the workers of a model are held to, see `engines.core.networks.canary`."""
    return f"models/{fingerprint}/canary.json"


def pca_folder(pca: str) -> str:
    """The folder of the PCA of this version."""
    return f"pca/{pca}"


def pca_key(folder: str) -> str:
    """The fitted PCA in its folder, written last: the PCA's commit."""
    return f"{folder}/model.npz"


def spectrum_key(folder: str) -> str:
    """The spectrum of the PCA in this folder."""
    return f"{folder}/spectrum.parquet"


def results_folder(pca: str, described: str = "") -> str:
    """The folder of the results that the PCA of this version gave; `described`: see `Catalog`."""
    return f"results/{pca}-{described}" if described else f"results/{pca}"


def result_key(folder: str, number: int, shard: str) -> str:
    """One part of the results: parts are numbered in the order of the catalog's shards."""
    return f"{folder}/part-{number:05d}-{shard}.parquet"


def check_folder(check: str) -> str:
    """The folder of the check of this version."""
    return f"{CHECKS}/{check}"


def nearest_key(folder: str, space: str, band: int) -> str:
    """The nearest rows of one band of a check, in one space."""
    return f"{folder}/nearest/{space}-{band:05d}.parquet"


def moments_key(folder: str) -> str:
    """The exact moments of each part (train, test, ...), in the folder of a check."""
    return f"{folder}/moments.npz"


def issues_key(folder: str) -> str:
    """What is odd about each photo, in the folder of a check."""
    return f"{folder}/issues.parquet"


def layout_key(folder: str) -> str:
    """Where photos lie on the map, in the folder of a check."""
    return f"{folder}/map.parquet"


def quality_key(folder: str) -> str:
    """The figures of a check, written last: its commit."""
    return f"{folder}/quality.json"


def job_folder(run: str, attempt: int) -> str:
    """Where a run and its job elsewhere leave what they say to each other; `attempt` counts the run's jobs."""
    return f"jobs/{run}/{attempt}"


def order_key(folder: str, number: int) -> str:
    """One order to the job of this folder."""
    return f"{folder}/order-{number:04d}.json"


def answer_key(folder: str, number: int) -> str:
    """What the job has to say to this order when it is done."""
    return f"{folder}/answer-{number:04d}.json"


def job_progress_key(folder: str) -> str:
    """How far the job is with the order it works on."""
    return f"{folder}/progress.json"
