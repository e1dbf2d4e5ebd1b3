"""What boto3 does for a bucket, which takes keys as they are: listing it, and reading what obstore cannot request.

obstore's listing ends at the first key that it cannot request (`a//b.jpg`), whoever asked for it, and at an answer that
is cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from engines.core.errors import TransientError
from engines.core.storage.aws import S3Access
from engines.core.storage.base import StoredObject, version_of
from engines.core.storage.repetition import repeated
from engines.core.storage.store_errors import of_botocore

T = TypeVar("T")

FIRST_WAIT = 5.0
"""So many seconds the first attempt at a page of a listing waits for its next bytes; as in `waiting`."""


def list_bucket(access: S3Access, prefix: str, uri: str) -> Iterator[StoredObject]:
    """Every object below the folder `prefix` of the location, in the order of the keys' UTF-8 bytes, as S3 lists them.

    Keys are relative to the location. Folder objects (`folder/`), which consoles make, are no files. `uri` is what
    errors name. Raises StorageError for a refusal, TransientError when a page failed for RETRY_SECONDS.
    """
    root = f"{access.prefix}/" if access.prefix else ""
    request: dict[str, Any] = {"Bucket": access.bucket, "Prefix": f"{root}{prefix}/" if prefix else root}

    def page_by(client: Any) -> dict[str, Any]:
        from botocore.parsers import ResponseParserError

        answer: dict[str, Any] = client.list_objects_v2(**request, **access.payer)
        if "Name" not in answer:
            # A body that is cut to nothing is an empty listing to boto3.
            raise ResponseParserError("no listing")
        return answer

    hasty = access.new_client(FIRST_WAIT)
    while True:
        try:
            page = asked(lambda: page_by(hasty), uri)
        except TransientError:  # whatever it was, the next attempts tell
            page = repeated(lambda: asked(lambda: page_by(access.client), uri))
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                version = version_of(item.get("ETag"), item["LastModified"])
                yield StoredObject(item["Key"].removeprefix(root), item["Size"], version)
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def read_object(access: S3Access, key: str, uri: str) -> tuple[bytes, str]:
    """The object whose key below the location is `key`, and its version. One attempt; raises as `list_bucket`."""
    whole = f"{access.prefix}/{key}" if access.prefix else key

    def request() -> tuple[bytes, str]:
        answer = access.client.get_object(Bucket=access.bucket, Key=whole, **access.payer)
        return answer["Body"].read(), version_of(answer.get("ETag"), answer["LastModified"])

    return asked(request, uri)


def asked(request: Callable[[], T], uri: str) -> T:
    """What a `request` by boto3 returns. Raises the FruitsError for what it raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        return request()
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise of_botocore(uri, error) from error
