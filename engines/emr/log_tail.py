"""Reads the end of a log, which AWS delivers to S3 after a job has ended."""

from __future__ import annotations

import gzip
import time
import zlib

from engines.emr.calls import DENIED, MISSING, Aws, AwsCallError, split_s3

TAIL_LINES = 25
_PAUSE = 3.0


def read_log_tail(aws: Aws, folder: str, names: tuple[str, ...], wait_seconds: float) -> str:
    """The last lines of the first of `names` that is not empty, after waiting up to `wait_seconds` for delivery.

    If the log cannot be read, the answer is one line that says why. It raises nothing for that, because the caller is
    reporting another failure.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        for name in names:
            bucket, key = split_s3(f"{folder}/{name}")
            try:
                content = aws.call("s3", "get_object", Bucket=bucket, Key=key)["Body"]
                text = gzip.decompress(content).decode(errors="replace").strip()
            except AwsCallError as error:
                if error.code in DENIED:
                    return f"(the log s3://{bucket}/{key} cannot be read: AWS does not allow it; check s3:GetObject)"
                if error.code == "NoSuchBucket":
                    return f"(the log cannot be read: the bucket {bucket} does not exist)"
                if error.code not in MISSING:
                    return f"(the log s3://{bucket}/{key} cannot be read: {error.code}: {error.detail})"
                continue
            except (OSError, EOFError, zlib.error) as error:
                return f"(the log s3://{bucket}/{key} is damaged: {error})"
            if text:
                return "\n".join(text.splitlines()[-TAIL_LINES:])
        if time.monotonic() + _PAUSE > deadline:
            return f"(no log was delivered to {folder} within {wait_seconds:.0f} seconds)"
        time.sleep(_PAUSE)
