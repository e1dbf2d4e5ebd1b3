"""The errors a person may meet, each with what to do next."""

from __future__ import annotations

from typing import Literal

from engines.core.text import printable

Finding = Literal["missing", "truncated", "corrupt", "foreign"]
"""What is wrong with a file of an output, see `engines.core.proof.reading`."""


class FruitsError(Exception):
    """Base of all errors that are explained rather than traced.

    `message` says what is wrong, `hint` what to do about it (may be empty). Both survive pickling, so an error
    raised on a worker reads the same on the driver, and both can be shown anywhere: file names come from anybody.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = printable(message)
        self.hint = printable(hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InputError(FruitsError):
    """What the caller asked for cannot be done: a missing folder, a wrong weights file, an unknown engine."""


class DownloadError(InputError):
    """The ImageNet weights could not be downloaded."""


class StorageError(FruitsError):
    """An object could not be read or written, for good: no permission, no credentials, no such bucket, gone."""


class GoneError(StorageError):
    """An object is not there, or not any more."""


class ChangedError(StorageError):
    """What was read of a source is not what was listed: it was replaced, or removed, in between."""


class DamagedError(FruitsError):
    """A file of an output is not what a run wrote there. `shards`: those whose features have to be computed again."""

    def __init__(self, message: str, hint: str, finding: Finding = "corrupt", shards: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.finding: Finding = finding
        self.shards = shards

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, str, Finding, tuple[str, ...]]]:
        return type(self), (self.message, self.hint, self.finding, self.shards)


class TransientError(FruitsError):
    """The world failed in a way that may heal: a time-out, throttling, workers lost. Worth another attempt."""


class RejectsError(FruitsError):
    """More images were rejected than the run allows."""


class QualityError(FruitsError):
    """Published results tell the classes less well than was asked for."""


class ContractError(FruitsError):
    """A promise of the pipeline does not hold, such as `listed == featurized + rejected`. Never expected."""


class StageError(FruitsError):
    """A stage failed on a worker for a reason that is none of the above; the message carries the cause."""
