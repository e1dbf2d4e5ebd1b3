"""The stand-in refuses what AWS would refuse, so that a green test means something."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.aws.service_models import BadRequestError, Service
from tests.aws.stand_in import StandIn

START: dict[str, Any] = {"clientToken": "token", "executionRoleArn": "arn:aws:iam::123456789012:role/jobs"}


@pytest.fixture(scope="module")
def serverless() -> Service:
    return Service("emr-serverless")


def start(serverless: Service, **changes: Any) -> tuple[str, dict[str, Any]]:
    import json

    body = json.dumps({**START, **changes}).encode()
    return serverless.parse("POST", "/applications/00emr/jobruns", {}, body)


def test_a_request_is_understood(serverless: Service):
    name, parameters = start(serverless, name="one")
    assert name == "StartJobRun"
    assert parameters["applicationId"] == "00emr"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clientToken": "not allowed!"}, "does not match"),
        ({"executionRoleArn": 5}, "Invalid type"),
        ({"executionRoleArn": "jobs"}, "does not match|length"),
        ({"name": "x" * 257}, "longer than 256"),
        ({"executionTimeoutMinute": 5}, "unknown members"),
        ({"mode": "SOMETIMES"}, "cannot be 'SOMETIMES'"),
        ({"jobDriver": {"sparkSubmit": {}}}, "Missing required parameter"),
    ],
)
def test_a_request_that_aws_would_refuse_is_refused(serverless: Service, changes: dict[str, Any], message: str):
    with pytest.raises(BadRequestError, match=message):
        start(serverless, **changes)


def test_an_answer_that_aws_could_not_give_fails(serverless: Service):
    with pytest.raises(BadRequestError, match="Missing required parameter"):
        serverless.serialize("StartJobRun", {"jobRunId": "1"})


def emr(target: str, body: bytes) -> Callable[[], Any]:
    return lambda: Service("emr").parse("POST", "/", {"X-Amz-Target": f"ElasticMapReduce.{target}"}, body)


@pytest.mark.parametrize(
    ("target", "body", "message"),
    [
        ("AddJobFlowSteps", b'{"JobFlowId": "j-1"}', "Missing required parameter"),
        ("RunJobFlows", b"{}", "unknown target"),
        ("CancelSteps", b'{"ClusterId": "j", "StepIds": ["s"], "StepCancellationOption": "NOW"}', "cannot be 'NOW'"),
    ],
)
def test_emr_too(target: str, body: bytes, message: str):
    with pytest.raises(BadRequestError, match=message):
        emr(target, body)()


def test_a_client_that_dies_between_headers_and_body_has_asked_for_nothing(stand_in: StandIn):
    address = urlsplit(stand_in.endpoint)
    assert address.hostname
    with socket.create_connection((address.hostname, address.port or 80)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: emr\r\nX-Amz-Target: ElasticMapReduce.DescribeStep\r\n")
        client.sendall(b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 40\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""  # it hung up, and the fixture finds no invalid request
