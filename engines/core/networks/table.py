"""Every network by its name: a new one is a file beside this one, and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.core.errors import InputError
from engines.core.networks.base import Network
from engines.core.networks.efficientnet_v2_b0 import EFFICIENTNET_V2_B0
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.resnet50_v2 import RESNET50_V2

NETWORKS: Mapping[str, Network] = {network.name: network for network in (MOBILENET_V2, EFFICIENTNET_V2_B0, RESNET50_V2)}

DEFAULT_NETWORK = MOBILENET_V2.name


def network_named(name: str) -> Network:
    """The network that a person asks for. Raises InputError for an unknown one."""
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}", f"Choose one of: {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def network_of(recipe: Mapping[str, Any]) -> Network:
    """The network that a model was made from. Raises InputError for one of a later version of this project."""
    for network in NETWORKS.values():
        if network.architecture == recipe["architecture"]:
            return network
    raise InputError(f"the network {recipe['architecture']} is not known here", "Upgrade fruit-features.")
