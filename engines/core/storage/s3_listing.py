"""Listing a bucket by boto3, which gives keys as they are.

obstore's listing ends at the first key that it cannot request (`a//b.jpg`), whoever asked for it, and at an answer that
is cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from engines.core.storage.aws import S3Access
from engines.core.storage.base import StoredObject, version_of
from engines.core.storage.repetition import repeated
from engines.core.storage.store_errors import of_botocore


def list_bucket(access: S3Access, prefix: str, uri: str) -> Iterator[StoredObject]:
    """Every object below the folder `prefix` of the location, in the order of the keys' UTF-8 bytes, as S3 lists them.

    Keys are relative to the location. Folder objects (`folder/`), which consoles make, are no files. `uri` is what
    errors name. Raises StorageError for a refusal, TransientError when a page failed for RETRY_SECONDS.
    """
    root = f"{access.prefix}/" if access.prefix else ""
    request: dict[str, Any] = {"Bucket": access.bucket, "Prefix": f"{root}{prefix}/" if prefix else root}

    def page_of_bucket() -> dict[str, Any]:
        from botocore.parsers import ResponseParserError

        answer: dict[str, Any] = access.client.list_objects_v2(**request, **access.payer)
        if "Name" not in answer:
            # A body that is cut to nothing is an empty listing to boto3.
            raise ResponseParserError("no listing")
        return answer

    while True:
        page = patiently(page_of_bucket, uri)
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                version = version_of(item.get("ETag"), item["LastModified"])
                yield StoredObject(item["Key"].removeprefix(root), item["Size"], version)
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def patiently(call: Callable[[], Any], uri: str) -> Any:
    """What `call` of boto3 returns, called again for up to RETRY_SECONDS while its fault may heal."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    def attempt() -> Any:
        try:
            return call()
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise of_botocore(uri, error) from error

    return repeated(attempt)
