"""A server in place of EMR Serverless and EMR: it checks each request against AWS's models, and runs the jobs.

Real HTTP on a free port. `faults` tells it to throttle, to lose connections and the like; `work` what jobs do.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.aws.service_models import BadRequestError, Service, service

REGION = "us-east-1"
ACCOUNT = "123456789012"


class AwsError(Exception):
    """An error as AWS answers it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Faults:
    """What goes wrong. Counts are used up one request at a time."""

    throttle: int = 0
    expired: int = 0
    lose_before: Counter[str] = field(default_factory=Counter)
    """Operation -> connections closed without doing anything."""
    lose_after: Counter[str] = field(default_factory=Counter)
    """Operation -> connections closed after the request was accepted."""
    fail_after: Counter[str] = field(default_factory=Counter)
    """Operation -> faults of the service after the request was accepted."""
    unlisted: int = 0
    """Listings of jobs that know of none yet: what AWS lists comes later than what it accepts."""
    delay: dict[str, float] = field(default_factory=dict)
    """Operation -> seconds before the next answer."""
    deny: dict[str, str] = field(default_factory=dict)
    """Operation -> the message of an AccessDeniedException."""
    pending: bool = False
    pending_detail: str = ""


@dataclass
class Startup:
    """How long AWS takes to start something, in seconds. Executors start side by side, so a job waits for them once."""

    job: float = 0.0
    executor: float = 0.0


class Quotas:
    """Service Quotas: how many vCPUs jobs of EMR Serverless may have."""

    vcpus = 4000.0

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        if (ServiceCode, QuotaCode) != ("emr-serverless", "L-D05C8A75"):
            raise AwsError(400, "NoSuchResourceException", "there is no such quota")
        return {"Quota": {"QuotaCode": QuotaCode, "QuotaName": "Max concurrent vCPUs per account", "Value": self.vcpus}}


class StandIn:
    """The server. `calls` are all accepted requests, in order: (operation, parameters)."""

    def __init__(self, endpoint_s3: str, scratch: Path) -> None:
        from tests.aws.clusters import Clusters
        from tests.aws.identities import Callers, Identities
        from tests.aws.serverless_jobs import ServerlessJobs
        from tests.aws.stacks import Stacks

        self.faults = Faults()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.rejected: list[str] = []
        self.endpoint_s3 = endpoint_s3
        self.scratch = scratch
        self.minute = 60.0
        self.startup = Startup()
        self.lock = threading.RLock()
        self.serverless = ServerlessJobs(self)
        self.clusters = Clusters(self)
        self.quotas = Quotas()
        self.stacks = Stacks(self)
        self.callers = Callers()
        self.identities = Identities(self)
        services = [
            (service("emr-serverless"), self.serverless),
            (service("emr"), self.clusters),
            (service("service-quotas"), self.quotas),
            (service("cloudformation"), self.stacks),
            (service("sts"), self.callers),
            (service("iam"), self.identities),
        ]
        self._services = {model.signing_name: (model, handler) for model, handler in services}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        # Half a second, by default, is how long a server takes to stop.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True, name="stand-in").start()

    def close(self) -> None:
        self.serverless.kill()
        self.clusters.kill()
        self._server.shutdown()
        self._server.server_close()

    def count(self, operation: str) -> int:
        """How often an operation was accepted."""
        return sum(name == operation for name, _ in self.calls)

    def running(self) -> list[str]:
        """Jobs that AWS would still bill."""
        return self.serverless.running() + self.clusters.running()

    def settle(self, seconds: float = 10.0) -> list[str]:
        """`running`, once it is empty or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.running()

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection is lost instead."""
        model, handler, region = self._service(headers)
        try:
            name, parameters = model.parse(method, url, headers, body)
            self._refuse(REGION if model.signing_name in ("iam", "sts") else region)  # which are the same in each
            if self._used(self.faults.lose_before, name):
                return 0, b"", True
            if name in self.faults.deny:
                raise AwsError(403, "AccessDeniedException", self.faults.deny[name])
            with self.lock:
                self.calls.append((name, parameters))
                output = getattr(handler, _snake(name))(**parameters)
            content = model.serialize(name, output)
            if self._used(self.faults.fail_after, name):
                raise AwsError(500, "InternalServerException", "the service failed")
            time.sleep(self.faults.delay.pop(name, 0.0))
            return 200, content, self._used(self.faults.lose_after, name)
        except AwsError as error:
            return error.status, model.error(error.code, str(error)), False
        except BadRequestError as error:
            self.rejected.append(str(error))
            return 400, model.error("ValidationException", str(error)), False

    def _service(self, headers: Any) -> tuple[Service, Any, str]:
        """The service that a request is signed for, what answers for it, and the region."""
        signature = re.search(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request", headers.get("Authorization", ""))
        if signature is None or signature[2] not in self._services:
            raise BadRequestError(f"not signed for a service that is here: {headers.get('Authorization')}")
        return *self._services[signature[2]], signature[1]

    def _refuse(self, region: str) -> None:
        """Raise what every request is answered with for now."""
        if self.faults.expired > 0:
            self.faults.expired -= 1
            raise AwsError(403, "ExpiredTokenException", "The security token included in the request is expired")
        if self.faults.throttle > 0:
            self.faults.throttle -= 1
            raise AwsError(429, "ThrottlingException", "Rate exceeded")
        if region != REGION:
            raise AwsError(404, "ResourceNotFoundException", f"nothing of yours is in {region}")

    def _used(self, counts: Counter[str], name: str) -> bool:
        with self.lock:
            if counts[name] > 0:
                counts[name] -= 1
                return True
            return False


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _handler(stand_in: StandIn) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # the client was killed between the two: it has asked for nothing
                self.close_connection = True
                return
            status, content, lost = stand_in.answer(self.command, self.path, self.headers, body)
            if lost:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(status)
            xml = content.startswith(b"<")
            self.send_header("Content-Type", "text/xml" if xml else "application/x-amz-json-1.1")
            if status >= 400 and not xml:
                self.send_header("x-amzn-ErrorType", json.loads(content)["__type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
