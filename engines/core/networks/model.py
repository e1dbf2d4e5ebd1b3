"""The model: the converted network as bytes, and the recipe that says exactly which numbers it produces.

A model lies in the output (`models/FINGERPRINT/`), so that any worker, and any later run, can use the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engines.core.errors import DamagedError, InputError
from engines.core.layout import canary_key, network_key, recipe_key
from engines.core.networks.base import Network
from engines.core.networks.choices import RUNTIMES
from engines.core.networks.table import network_of
from engines.core.proof.reading import damaged, read_json, read_proven, sealed_json, there
from engines.core.storage import open_storage


@dataclass(frozen=True)
class Canary:
    """The digest of the features of the canary images, and the CPU it was computed on, see `networks.canary`."""

    digest: str
    cpu: str


@dataclass(frozen=True)
class Model:
    """A network ready to run: `content` is a LiteRT flatbuffer or a Keras archive, as `recipe["runtime"]` says.

    `canary`: what the workers of its output are held to; None until the first of them has decided it.
    """

    content: bytes
    recipe: dict[str, Any]
    canary: Canary | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the recipe, but for the weights' name. Features of different fingerprints are never mixed."""
        decisive = {name: value for name, value in self.recipe.items() if name != "weights"}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def network(self) -> Network:
        """What this is a model of."""
        return network_of(self.recipe)

    def check_worker(self) -> None:
        """Raise InputError unless this process has the versions of the recipe, which decide about the last bits."""
        here = library_versions(self.recipe["runtime"])
        if here != self.recipe["libraries"]:
            raise InputError(
                f"this worker has {_listed(here)}, but the run was started with {_listed(self.recipe['libraries'])}",
                "Install the same versions on every worker, for instance from the lock file.",
            )


def make_recipe(content: bytes, network: Network, *, runtime: str, weights: str, weights_sha256: str) -> dict[str, Any]:
    """All that decides about the features: the graph, the weights, the pixels, and the libraries that compute both.

    `weights` is how a person calls them: `imagenet`, `random`, or a file's name.
    """
    return {
        "architecture": network.architecture,
        "runtime": runtime,
        "weights": weights,
        "weights_sha256": weights_sha256,
        "graph_sha256": hashlib.sha256(content).hexdigest(),
        "preprocessing": network.preprocessing,
        "libraries": library_versions(runtime),
    }


def library_versions(runtime: str) -> dict[str, str]:
    """Installed versions of the packages that turn a file into features."""
    versions = {}
    for package in ("pillow", RUNTIMES[runtime]):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            extra = "worker" if runtime == "litert" else "tensorflow"
            raise InputError(
                f"the runtime {runtime} needs the package {package}, which is not installed here",
                f"Install fruit-features[{extra}].",
            ) from None
    return versions


def publish_model(model: Model, output: str) -> None:
    """Put the model into `models/FINGERPRINT/` of the output, unless it is there, whole. The recipe is written last."""
    storage, recipe = open_storage(output), recipe_key(model.fingerprint)
    if storage.exists(recipe) and there(lambda: _read_network(output, model.fingerprint)) is not None:
        return
    storage.write(network_key(model.fingerprint), model.content)
    storage.write(recipe, sealed_json(model.recipe, recipe))


def read_model(output: str, fingerprint: str) -> Model:
    """The model that `publish_model` put there, with its canary if there is one.

    Raises DamagedError when its bytes are not those of its recipe.
    """
    return replace(_read_network(output, fingerprint), canary=read_canary(output, fingerprint))


def _read_network(output: str, fingerprint: str) -> Model:
    storage, key = open_storage(output), network_key(fingerprint)
    recipe = read_recipe(output, fingerprint)
    model = Model(read_proven(storage, key).content, recipe)
    if model.fingerprint != fingerprint:
        raise damaged(storage, recipe_key(fingerprint), "foreign", f"it is the recipe of {model.fingerprint}")
    if hashlib.sha256(model.content).hexdigest() != recipe.get("graph_sha256"):
        raise damaged(storage, key, "corrupt", "its bytes are not those of its recipe")
    return model


def read_recipe(output: str, fingerprint: str) -> dict[str, Any]:
    """The recipe of a model that `publish_model` put there. Raises DamagedError."""
    return read_json(open_storage(output), recipe_key(fingerprint))


def publish_canary(model: Model, output: str) -> None:
    """Put the model's canary beside it: from now on, workers are held to it."""
    if model.canary is not None:
        key = canary_key(model.fingerprint)
        open_storage(output).write(key, sealed_json(asdict(model.canary), key))


def read_canary(output: str, fingerprint: str) -> Canary | None:
    """The canary that `publish_canary` put there, or None: no worker has decided it, or the output is older than it.

    Raises DamagedError.
    """
    storage, key = open_storage(output), canary_key(fingerprint)
    if not storage.exists(key):
        return None
    plain = read_json(storage, key)
    if set(plain) != {"digest", "cpu"}:
        raise damaged(storage, key, "corrupt", "it holds no canary")
    return Canary(**plain)


def remove_damaged_canary(output: str, fingerprint: str) -> list[str]:
    """Remove a canary that is not what was written, so that it is decided again; in words what was damaged."""
    try:
        read_canary(output, fingerprint)
    except DamagedError as error:
        open_storage(output).delete(canary_key(fingerprint))
        return [error.message]
    return []


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in sorted(versions.items()))
