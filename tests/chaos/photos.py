"""Photos that do harm, and what becomes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HOOK = Path(__file__).with_name("hostile")
SECONDS = 10.0
"""What one photo may take in these tests: a busy machine decodes a small one in less."""

REASON_OF = {"crash": "crashes_worker", "hang": "timeout", "eat": "too_large"}
"""What a photo does, and what it is rejected for."""


def do_harm(photo: Path, what: str) -> str:
    """Have a photo do `what`, one of REASON_OF, wherever it is decoded with `armed`. Its path."""
    photo.write_bytes(photo.read_bytes() + f"HOSTILE: {what}".encode())
    return str(photo)


def armed(patch: pytest.MonkeyPatch) -> None:
    """Photos do their harm in all processes that start from now on."""
    patch.setenv("PYTHONPATH", os.pathsep.join([str(HOOK), os.environ["PYTHONPATH"]]))
    patch.syspath_prepend(str(HOOK))
