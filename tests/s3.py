"""AWS for tests: moto's server, over real HTTP, in a process of its own.

`aws` starts it once per session on a free port and points the AWS_* variables at it, for this process and all it
starts. `bucket` is a new, empty bucket for one test.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

_REGION = "us-east-1"

PAGE = 50
"""Objects on a page of a listing (1,000 on S3), so that few objects make several pages."""

# The server ends when its standard input closes: with the tests, however they end.
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer

requests = logging.getLogger("werkzeug")
requests.setLevel(logging.INFO)
requests.addHandler(logging.FileHandler(sys.argv[1]))
requests.propagate = False
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass
class Aws:
    """A running server: its address, and what tests do with it besides what they test."""

    endpoint: str
    log: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def client(self, service: str = "s3") -> Any:
        """A boto3 client of the server."""
        import boto3

        return boto3.client(service, endpoint_url=self.endpoint, region_name=_REGION)

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def requests(self, bucket: str) -> list[tuple[str, str]]:
        """Method and key of every request that asked for something in a bucket; the key of a listing is empty."""
        found = re.findall(rf'"([A-Z]+) /{bucket}(?:/([^ ?]*))?(?:\?[^ ]*)? HTTP', self.log.read_text())
        return [(method, unquote(key)) for method, key in found]

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Put objects by key."""
        client = self.client()
        for key, content in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=content)

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def deny(self, bucket: str, *actions: str) -> None:
        """Forbid actions on the objects of a bucket, such as `s3:GetObject`. (moto does not enforce s3:ListBucket.)"""
        resource = f"arn:aws:s3:::{bucket}/*"
        statement = {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client().put_bucket_policy(Bucket=bucket, Policy=policy)


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """The server, with the AWS_* variables of this process set to it until the session ends."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    log = tmp_path_factory.mktemp("s3") / "requests.log"
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", endpoint)
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            patch.setenv("AWS_DEFAULT_REGION", _REGION)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL_S3"):
                patch.delenv(name, raising=False)
            yield Aws(endpoint, log)
        process.stdin.close()


@pytest.fixture
def bucket(aws: Aws) -> str:
    """The name of a new, empty bucket."""
    return aws.new_bucket()
