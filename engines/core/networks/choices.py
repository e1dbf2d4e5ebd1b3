"""What a person may choose of how features are computed. Light to import: the command line offers these."""

from __future__ import annotations

from engines.core.errors import InputError

RUNTIMES = {"litert": "ai-edge-litert", "tensorflow": "tensorflow"}
"""Runtime name -> the package whose version decides about the last bits of its features."""

ARITHMETIC = ("exact", "tolerant")
"""What a run asks of its workers: the same bits, or (`tolerant`) the same numbers but for their last digits."""


def check_runtime(runtime: str) -> None:
    """Raise InputError for a name that is not one of RUNTIMES."""
    if runtime not in RUNTIMES:
        raise InputError(f"unknown runtime {runtime!r}", f"Choose one of: {', '.join(RUNTIMES)}.")


def check_arithmetic(arithmetic: str) -> None:
    """Raise InputError for a name that is not one of ARITHMETIC."""
    if arithmetic not in ARITHMETIC:
        raise InputError(f"arithmetic cannot be {arithmetic!r}", f"Choose one of: {', '.join(ARITHMETIC)}.")
