"""How locations are spelled: folders, and URLs such as `s3://bucket/prefix`."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from engines.core.errors import InputError

_SIGNED = re.compile(
    r"[?&](X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature|sig|sas|token|access_token|password|secret)=", re.I
)
"""Parts of URLs that grant access: presigned by S3 (version 4 and 2), Azure's shared access, and their like."""


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
    _check_no_secret(scheme, rest)
    if not rest.partition("/")[0]:
        raise InputError(f"{location} names no bucket", "Write s3://bucket or s3://bucket/prefix.")
    return f"{scheme}://{rest.rstrip('/')}"


def is_folder(location: str) -> bool:
    """Whether a location is a local folder, as opposed to a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is None


def uri_of(location: str, key: str) -> str:
    """The full path or URI of `key` below a location in its one spelling."""
    return f"{location}/{key}" if location != "/" else f"/{key}"


def key_of(location: str, uri: str) -> str:
    """The inverse of `uri_of`. Needs no access to what is stored there."""
    return uri[len(uri_of(location, "")) :]


def why_unreadable(key: str) -> str:
    """Why an object of this key cannot be requested; empty if it can.

    HTTP clients take `.` and `..` for steps through folders, and object_store's paths have no empty part.
    """
    if not {"", ".", ".."}.isdisjoint(key.split("/")):
        return "the name has an empty, `.` or `..` part"
    if any(character < " " or character == "\x7f" for character in key):
        return "the name has a control character"
    return ""


def _check_no_secret(scheme: str, rest: str) -> None:
    """Raise InputError for a URL that carries credentials: it would stand in records, reports and logs."""
    host = rest.partition("/")[0]
    # A secret may have a slash, so that the `@` comes later; a bucket has no colon.
    before = rest.partition("@")[0] if "@" in rest else ""
    if (scheme == "s3" and ":" in host) or "@" in host.partition(":")[2] or ":" in before.partition("/")[0]:
        what = "carries credentials before its bucket"
    elif _SIGNED.search(rest):
        what = "carries a signature or token"
    else:
        return
    raise InputError(
        f"the {scheme}:// location {what} (it is not shown here)",
        "Write s3://bucket/prefix, and give credentials by AWS_PROFILE or the AWS_* variables.",
    )
