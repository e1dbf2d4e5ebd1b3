"""From the bytes of one file to its features: decode, run the network, snap to its grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.core.networks.images import decode
from engines.core.networks.model import Model
from engines.core.networks.runtimes import open_runtime


def features_of(content: bytes, model: Model) -> npt.NDArray[np.float32]:
    """The features of a photo as the featurize stage writes them, float32[model.network.features], bit for bit.

    Raises RejectedImageError for what is no photo, InputError when this process has other library versions than the
    model's recipe names. May be called from several threads: each loads the network once.
    """
    network = model.network
    row: npt.NDArray[np.float32] = network.grid.snap(
        open_runtime(model).features(decode(content, network.side))[np.newaxis]
    )[0]
    return row
