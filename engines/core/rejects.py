"""Why a photo cannot be featurized: a fact about the photo, kept as a row, never an error of the run."""

from __future__ import annotations


class RejectedImageError(Exception):
    """This file is not an image that can be featurized. `reason` is one of REASONS, `detail` free text."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


MAX_PIXELS = 2**26
"""Images of more pixels are rejected before they are decoded: 67 megapixels, 200 MB as RGB."""

REASONS = {
    "empty": "the file has no bytes",
    "dangling_link": "a symbolic link to a file that does not exist",
    "not_an_image": "no known image format",
    "too_large": f"more than {MAX_PIXELS:,} pixels",
    "truncated": "the image data end too early",
    "undecodable": "the image data are damaged",
}
