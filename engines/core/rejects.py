"""What becomes of an image that cannot be featurized: a reject, with its reason."""

from __future__ import annotations

REASONS = {
    "empty": "the file has no bytes",
    "dangling_link": "a symbolic link to a file that does not exist",
    "unsafe_name": "a member of an archive whose name leads out of it",
    "archive_bomb": "a member of an archive that would unpack to far more than it takes",
    "unreadable_member": "a member of an archive that is damaged, encrypted, or stored in a way that is not known",
    "special_file": "a pipe, socket or device in place of a file",
    "not_an_image": "no known image format",
    "unsupported_format": "a format that is known but not decoded",
    "too_large": "too many pixels, or more memory to decode than one image may take",
    "truncated": "the image data end too early",
    "undecodable": "the image data are damaged",
    "changed": "another file than the one that was listed, each time: run again",
    "missing": "a file that was removed since it was listed, each time: run again",
    "value_range": "floating-point pixels that lie neither in [0, 1] nor in [0, 255]",
    "timeout": "decoding it takes longer than one image may take",
    "crashes_worker": "decoding it ends the process that does it, each time",
}
"""Every reason a file may be rejected for, with its text for people."""

QUARANTINED = frozenset({"timeout", "crashes_worker"})
"""Reasons that cost a worker before they were known."""

LIMITED = frozenset({"too_large", *QUARANTINED})
"""Reasons that may not hold any more where a photo may take more time or memory."""

PASSING = frozenset({"changed", "missing"})
"""Reasons that say nothing of the file for good: it is listed again, by the same run and by the next one."""


class RejectedImageError(Exception):
    """This file is not an image that can be featurized. `reason` is one of REASONS, `detail` free text."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
