"""Calls to AWS with retries: backoff after throttling and lost connections, renewed credentials after expiry."""

from __future__ import annotations

import functools
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.paginate import Paginator

from engines.core.errors import FruitsError, InputError, StageError, TransientError
from engines.emr.settings import EmrSettings

LOGGER = logging.getLogger("fruits.emr")

THROTTLED = {
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
}
EXPIRED = {
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
}
DENIED = {"AccessDeniedException", "AccessDenied", "403", "UnauthorizedOperation", "Forbidden"}
MISSING = {
    "404",
    "NoSuchBucket",
    "NoSuchEntity",
    "NoSuchKey",
    "NoSuchResourceException",
    "NotFound",
    "ResourceNotFoundException",
}

ADVICE_ORGANIZATION = (
    "Your organization forbids it for this account (a service control policy): ask who administers AWS Organizations "
    "to allow the action, or use another account."
)
ADVICE_KEY = (
    "A KMS key encrypts what lies there. Who runs `fruits` and the role of the jobs need kms:Decrypt on it (to write, "
    "kms:GenerateDataKey too): give its ARN to the stack as SourceKmsKey or BucketKmsKey. The key's own policy has to "
    "let this account use it: ask its owner."
)
_ADVICE = (("service control policy", ADVICE_ORGANIZATION), ("kms:", ADVICE_KEY))
"""What AWS writes -> what to do about it, whatever was asked for."""

READ_SECONDS = 30
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 20.0
_RENEWALS = 3


class AwsCallError(Exception):
    """AWS refused a call, and would refuse it again. `code` and `detail` are as AWS gives them."""

    def __init__(self, operation: str, code: str, detail: str) -> None:
        super().__init__(f"{operation}: {code}: {detail}")
        self.code = code
        self.detail = detail


class _FailedAttempt(Exception):
    """An attempt to repeat. `unanswered`: AWS may have carried it out. `expired`: the credentials had expired."""

    def __init__(self, reason: str, *, unanswered: bool = False, expired: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unanswered = unanswered
        self.expired = expired


class Aws:
    """AWS clients of one region, created again with fresh credentials when those expire."""

    def __init__(self, settings: EmrSettings, pause: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self.pause = pause
        self._clients: dict[str, Any] = {}
        self._session: boto3.Session | None = None
        self._paginators = botocore.session.get_session()
        """Only for its models of what is listed in pages; it makes no calls."""

    def call(self, service: str, operation: str, *, once: bool = False, **parameters: Any) -> dict[str, Any]:
        """Call `operation` (as boto3 names it) of `service`.

        `once`: for operations that must not run twice. A lost connection or a fault of the service is then raised as
        TransientError at once, because AWS may have accepted the call. A `Body` in the answer is read into bytes.
        Raises AwsCallError for a refusal, TransientError after `patience_seconds` without an answer, and InputError for
        missing, wrong or expired credentials.
        """
        deadline = time.monotonic() + self._settings.patience_seconds
        renewals = 0
        for pause in _pauses():
            try:
                return self._attempt(service, operation, parameters)
            except _FailedAttempt as failed:
                reason = failed.reason
                if once and failed.unanswered:
                    raise TransientError(f"{service} gave no answer to {operation} ({reason})") from failed
                if failed.expired:
                    renewals += 1
                    self._session = None  # a new session reads the credentials again
                    self._clients.clear()
                    if renewals > _RENEWALS or time.monotonic() + pause > deadline:
                        raise _expired(reason) from failed
                if time.monotonic() + pause > deadline:
                    patience = f"{self._settings.patience_seconds:.0f} s"
                    raise TransientError(
                        f"{service} did not answer {operation} within {patience} ({reason})",
                        "Check the network and the service's status, then run again: what was done is kept.",
                    ) from failed
            LOGGER.info("%s %s: %s; again in %.1f s", service, operation, reason, pause)
            self.pause(pause)
        raise AssertionError("unreachable: the pauses never end")

    def _attempt(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """One call. Raises _FailedAttempt if another attempt may succeed, else what `call` raises."""
        try:
            answer = dict(getattr(self._client(service), operation)(**parameters))
            body = {"Body": answer["Body"].read()} if "Body" in answer else {}
        except exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in EXPIRED or code in THROTTLED or status >= 500:
                unanswered = code not in EXPIRED and code not in THROTTLED
                raise _FailedAttempt(code, expired=code in EXPIRED, unanswered=unanswered) from error
            raise AwsCallError(operation, code, error.response["Error"].get("Message", "")) from error
        except exceptions.NoCredentialsError as error:
            raise InputError(
                "no AWS credentials were found",
                "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`.",
            ) from error
        except (exceptions.TokenRetrievalError, exceptions.SSOError, exceptions.CredentialRetrievalError) as error:
            raise _expired(type(error).__name__) from error
        except exceptions.ParamValidationError as error:
            raise AwsCallError(operation, "ParamValidation", str(error)) from error
        except (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError) as error:
            raise _FailedAttempt(type(error).__name__, unanswered=True) from error
        except exceptions.BotoCoreError as error:
            # A profile that does not exist, half a pair of keys, a config file that cannot be read.
            raise InputError(
                f"AWS cannot be called with the settings of this machine: {error}",
                "Check AWS_PROFILE and the other AWS_* variables, and the files in ~/.aws.",
            ) from error
        return answer | body

    def takes(self, service: str, operation: str, parameter: str) -> bool:
        """Whether the boto3 that is installed knows this parameter; both are named as AWS names them."""
        model = self._client(service).meta.service_model.operation_model(operation)
        return parameter in model.input_shape.members

    def items(self, service: str, operation: str, **parameters: Any) -> Iterator[Any]:
        """The items of a listing, page by page. Each page is one `call`, with its retries and its errors."""
        client = self._client(service)
        name = client.meta.method_to_api_mapping[operation]
        model = self._paginators.get_paginator_model(service).get_paginator(name)
        # client.get_paginator would call the client itself: without our retries, and with the credentials of the start.
        paginator = Paginator(
            functools.partial(self.call, service, operation), model, client.meta.service_model.operation_model(name)
        )
        try:
            for page in paginator.paginate(**parameters):
                yield from page.get(model["result_key"], [])
        except exceptions.PaginationError as error:  # the service repeats a page
            raise AwsCallError(operation, "Pagination", str(error)) from error

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            # A single attempt: retrying is this class's work.
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=READ_SECONDS)
            self._session = self._session or boto3.Session(region_name=self._settings.region)
            self._clients[service] = self._session.client(service, config=config)
        return self._clients[service]


def region_of_this_machine() -> str | None:
    """The region of AWS_REGION, AWS_DEFAULT_REGION or the profile; None where none of them names one."""
    return os.environ.get("AWS_REGION") or boto3.Session().region_name


def split_s3(url: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URL."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def advice(reason: str) -> str:
    """What to do about a refusal as AWS words it, where its words say it; else nothing."""
    return next((hint for part, hint in _ADVICE if part in reason), "")


def refused(error: AwsCallError, doing: str, hint: str) -> FruitsError:
    """The FruitsError for a refusal: InputError for what a person can put right, else StageError.

    `hint` is for a refusal whose words do not say what to do, see `advice`.
    """
    denied = error.code in DENIED
    kind = InputError if denied or error.code in MISSING or "Validation" in error.code else StageError
    why = f"AWS does not allow it ({error.detail})" if denied else f"{error.code}: {error.detail}"
    return kind(f"{doing}: {why}", advice(error.detail) or hint)


def _expired(code: str) -> InputError:
    return InputError(
        f"the AWS credentials have expired or are not valid ({code})",
        "Renew them (`aws sso login`, or new keys) and run again: what was done is kept. A job that was running is "
        "stopped by its own timeout, or at once with `fruits emr stop RUN`.",
    )


def _pauses() -> Iterator[float]:
    """Seconds between attempts: exponential, with jitter so that many clients do not retry at the same moment."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - spreads load, guards nothing
        pause = min(_LONGEST_PAUSE, pause * 2)
