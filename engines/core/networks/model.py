"""The model: the converted network as bytes, and the recipe that says exactly which numbers it produces.

A model lies in the output (`models/FINGERPRINT/`), so that any worker, and any later run, can use the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engines.core.errors import ContractError, InputError
from engines.core.networks.base import Network
from engines.core.networks.table import network_of
from engines.core.output import canary_key, network_key, recipe_key
from engines.core.storage import open_storage

RUNTIMES = {"litert": "ai-edge-litert", "tensorflow": "tensorflow"}
"""Runtime name -> the package whose version decides about the last bits of its features."""


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
    """Put the model into `models/FINGERPRINT/` of the output, unless it is there. The recipe is written last."""
    storage = open_storage(output)
    if not storage.exists(recipe_key(model.fingerprint)):
        storage.write(network_key(model.fingerprint), model.content)
        storage.write(recipe_key(model.fingerprint), json.dumps(model.recipe, indent=1).encode())


def read_model(output: str, fingerprint: str) -> Model:
    """The model that `publish_model` put there, with its canary if there is one.

    Raises ContractError when its bytes are not those of its recipe.
    """
    storage = open_storage(output)
    recipe = read_recipe(output, fingerprint)
    content = storage.read(network_key(fingerprint))
    model = Model(content, recipe, read_canary(output, fingerprint))
    if model.fingerprint != fingerprint or hashlib.sha256(content).hexdigest() != recipe["graph_sha256"]:
        raise ContractError(f"the model {fingerprint} in {output} is damaged", "Remove its folder and run again.")
    return model


def read_recipe(output: str, fingerprint: str) -> dict[str, Any]:
    """The recipe of a model that `publish_model` put there."""
    recipe: dict[str, Any] = json.loads(open_storage(output).read(recipe_key(fingerprint)))
    return recipe


def publish_canary(model: Model, output: str) -> None:
    """Put the model's canary beside it: from now on, workers are held to it."""
    if model.canary is not None:
        content = json.dumps(asdict(model.canary), indent=1).encode()
        open_storage(output).write(canary_key(model.fingerprint), content)


def read_canary(output: str, fingerprint: str) -> Canary | None:
    """The canary that `publish_canary` put there, or None: no worker has decided it, or the output is older than it."""
    storage, key = open_storage(output), canary_key(fingerprint)
    return Canary(**json.loads(storage.read(key))) if storage.exists(key) else None


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{package} {number}" for package, number in sorted(versions.items()))
