"""Canary images: whether a worker's CPU and libraries compute the bits the other workers' do.

No runtime promises equal numbers on two kinds of CPU; the one used here gives them on most (see GUARANTEES.md). So the
features of a few fixed images are asked for: the first worker that runs a model for an output decides their digest,
which stays beside the model, and every worker compares when it loads the model. Its answer takes some tens of
milliseconds, and also finds a broken library or a sick machine.
"""

from __future__ import annotations

import hashlib
import platform
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.core.errors import InputError
from engines.core.networks.choices import check_arithmetic
from engines.core.networks.model import Canary, Model
from engines.core.networks.runtimes import open_runtime

_measured = threading.local()


def canary_images(side: int) -> list[npt.NDArray[np.uint8]]:
    """Two images uint8[side, side, 3]: one smooth, one as rough as can be. Made of whole numbers, decoded by nobody."""
    y, x, channel = np.indices((side, side, 3))
    smooth = (x * (channel + 1) + y * (3 - channel)) * 255 // (4 * (side - 1))
    rough = (x * x * 31 + y * y * 17 + x * y * (channel + 5) + channel * 89) % 256
    return [smooth.astype(np.uint8), rough.astype(np.uint8)]


def measure_canary(model: Model) -> Canary:
    """The digest of the features that this process computes of the canary images, once per thread and model.

    Raises InputError when this process has other library versions than the model's recipe names.
    """
    if getattr(_measured, "fingerprint", None) != model.fingerprint:
        runtime = open_runtime(model)
        digest = hashlib.sha256()
        for image in canary_images(model.network.side):
            digest.update(np.ascontiguousarray(runtime.features(image), dtype="<f4").tobytes())
        _measured.canary = Canary(digest.hexdigest(), cpu_name())
        _measured.fingerprint = model.fingerprint
    canary: Canary = _measured.canary
    return canary


def deviating_canary(model: Model, arithmetic: str) -> str:
    """Empty if this process computes the bits of the model's canary (or the model has none), else the digest it gets.

    Raises InputError in place of the latter unless `arithmetic` is `tolerant`.
    """
    check_arithmetic(arithmetic)
    if model.canary is None:
        return ""
    here = measure_canary(model)
    if here.digest == model.canary.digest:
        return ""
    if arithmetic == "tolerant":
        return here.digest
    if here.cpu == model.canary.cpu:
        raise InputError(
            f"this worker computes other features of the canary images than another worker on the same kind of CPU,"
            f" {here.cpu}: {here.digest[:12]} in place of {model.canary.digest[:12]}",
            "One of the two machines, or of their libraries, is broken. Run on others, or again from an empty output.",
        )
    raise InputError(
        f"this worker's CPU, {here.cpu}, computes other bits than {model.canary.cpu}, which this output's features come"
        f" from: canary {here.digest[:12]} in place of {model.canary.digest[:12]}",
        "Use workers of the other kind only, or a new output, or go on with --arithmetic tolerant: features then agree "
        "within 1e-4, and not bit for bit.",
    )


def cpu_name() -> str:
    """What the CPU calls itself, such as `AMD EPYC 7763 64-Core Processor` or `aarch64 0x41/0xd0c`."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in lines}
    if "model name" in facts:
        return facts["model name"]
    if "CPU part" in facts:
        return f"{platform.machine()} {facts.get('CPU implementer', '')}/{facts['CPU part']}"
    return platform.processor() or platform.machine()
