"""How locations are spelled: folders, and URLs such as `s3://bucket/prefix`."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from engines.core.errors import InputError


def normalize_location(location: str) -> str:
    """The one spelling of a location: an absolute folder without trailing slash, or `scheme://host/prefix`.

    Symbolic links are left as the caller wrote them. Raises InputError for an empty location or one of no known form.
    """
    if not location:
        raise InputError("an empty location was given", "Name a folder or a URL such as s3://bucket/prefix.")
    try:
        location.encode()
    except UnicodeEncodeError:
        raise InputError(f"the location {location!r} is not Unicode (UTF-8)", "Rename the folder.") from None
    if is_folder(location):
        return os.path.abspath(os.path.expanduser(location))
    scheme, rest = location.split("://", 1)
    scheme = {"s3a": "s3", "s3n": "s3"}.get(scheme.lower(), scheme.lower())
    if scheme == "file":
        # By hand: to urlsplit a `#` or `?` ends the path, but here it belongs to a folder's name.
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise InputError(f"{location} names another machine: {host}", "Write file:///absolute/folder.")
        return os.path.abspath(unquote(slash + path))
    if not rest.partition("/")[0]:
        raise InputError(f"{location} names no bucket", "Write s3://bucket or s3://bucket/prefix.")
    return f"{scheme}://{rest.rstrip('/')}"


def is_folder(location: str) -> bool:
    """Whether a location is a local folder, as opposed to a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is None
