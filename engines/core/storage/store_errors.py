"""What an object store answers, as errors with what to do: what heals is TransientError, what does not StorageError."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import unescape

from engines.core.errors import FruitsError, GoneError, InputError, StorageError, TransientError

AGAIN = "Run again: what was done is kept."
_ANOTHER_REGION = "Set AWS_DEFAULT_REGION to it, or `region` in the profile."
_SIGN_IN = "Sign in again (`aws sso login`) or renew the keys, then run again: what was done is kept."

_ADVICE = {
    "AccessDenied": "Check the credentials and the bucket's policy. Where the requester pays, set "
    "AWS_REQUEST_PAYER=requester; a public bucket is read without credentials by AWS_SKIP_SIGNATURE=BUCKET.",
    "InvalidObjectState": "It is archived (Glacier): restore it first, or leave it out of the source.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it, or have it set by a time service.",
    "InvalidAccessKeyId": "The service does not know this key: check AWS_PROFILE and the keys, and that the endpoint "
    "(AWS_ENDPOINT_URL, or endpoint_url in the profile) is the one they are for.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key, or a proxy changes requests.",
    "ExpiredToken": _SIGN_IN,
    "InvalidToken": _SIGN_IN,
    "TokenRefreshRequired": _SIGN_IN,
}
"""What to do about a refusal, by the service's code for it."""

_KMS = "The bucket is encrypted with a key of KMS: allow kms:Decrypt (to write, kms:GenerateDataKey too) on that key."

_HEALS = {408, 416, 429, *range(500, 600)}
_HEALING_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
"""Answers that another attempt may change. 416: obstore asks for what is missing of an answer that ended early:
nothing, where the length it gave was not true.
"""

_CERTIFICATE = re.compile(r"invalid peer certificate: ([^\n\"]+)|InvalidCertificate\(\s*(\w+)")
"""How rustls says that it does not trust the service."""

_SYSTEM = re.compile(r"message: \"([^\"]+)\"|(dns error[^\n\"]*)|kind: (Timeout)\b")
"""The cause of a broken connection, in the details that obstore prints below its message."""

_NETWORK = re.compile(r"(EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|HTTPClient)Error")


@contextlib.contextmanager
def translated(uri: str) -> Iterator[None]:
    """Errors of obstore within this context as ours; `uri` is what they are about."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.BaseError, FileNotFoundError) as error:
        raise of_obstore(uri, error) from error


def of_obstore(uri: str, error: BaseException) -> FruitsError:
    """What an error of obstore means."""
    from obstore import exceptions

    text = str(error)
    if isinstance(error, exceptions.InvalidPathError):
        return unreadable_name(uri, first_line(error))
    if isinstance(error, exceptions.UnauthenticatedError) and "credential provider" in text:
        return _of_credentials(uri, first_line(error).partition("credential provider: ")[2])
    return _of_answer(uri, error, text) or _of_connection(uri, error, text)


def _of_answer(uri: str, error: BaseException, text: str) -> FruitsError | None:
    """What the service answered, if it did."""
    said = re.search(r"<Code>(.*?)</Code>(?:.*?<Message>(.*?)</Message>)?", text, re.DOTALL)
    status = re.search(r"status code: (\d\d\d)", text)
    code, message = (unescape(said[1]), unescape(said[2] or "")) if said else ("", "")
    if isinstance(error, FileNotFoundError):
        return refusal(uri, 404, code, message)
    if "redirect without LOCATION" in text:
        return refusal(uri, 301, code, message)
    if said or status:
        return refusal(uri, int(status[1]) if status else 0, code, message)
    return None


def _of_connection(uri: str, error: BaseException, text: str) -> FruitsError:
    if certificate := _CERTIFICATE.search(text):
        return untrusted(uri, certificate[1] or certificate[2])
    cause = _SYSTEM.search(text)
    why = f" ({next(group for group in cause.groups() if group)})" if cause else ""
    return TransientError(f"{uri}: {first_line(error)}{why}", AGAIN)


def of_botocore(uri: str, error: Exception) -> FruitsError:
    """What an error of botocore (ClientError, BotoCoreError, ResponseParserError) means."""
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if isinstance(error, exceptions.ClientError):
        answer: dict[str, Any] = error.response
        said = answer.get("Error", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return refusal(uri, status, str(said.get("Code", "")), str(said.get("Message", "")))
    if isinstance(error, exceptions.SSLError) and "certificate" in str(error).lower():
        return untrusted(uri, first_line(error))
    if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)):
        return TransientError(f"{uri}: {first_line(error)}", AGAIN)
    if isinstance(error, ResponseParserError):
        return TransientError(f"{uri}: the answer was cut short", AGAIN)
    return _of_credentials(uri, f"{type(error).__name__}: {first_line(error)}")


def refusal(uri: str, status: int, code: str, message: str) -> FruitsError:
    """What a service's answer means, by its HTTP status (0: not known), and its code and message (may be empty)."""
    code = "" if code.isdigit() else code  # botocore's way to say that there was none
    words = ": ".join(word for word in (code, " ".join(message.split())) if word)
    shown = words or f"the service answered {status}"
    if code == "NoSuchBucket":
        return StorageError(f"the bucket of {uri} does not exist", "Check its name and region.")
    if status == 404:
        return GoneError(f"{uri} does not exist", "It may have been removed since it was listed.")
    if status in {301, 307} or (code == "AuthorizationHeaderMalformed" and "region" in message):
        return StorageError(f"the bucket of {uri} is in another region ({shown})", _ANOTHER_REGION)
    if code in _HEALING_CODES or status in _HEALS:
        return TransientError(f"{uri}: {shown}", AGAIN)
    if status in {401, 403} or code in _ADVICE:
        advice = _KMS if "kms" in message.lower() else _ADVICE.get(code, _ADVICE["AccessDenied"])
        return StorageError(f"access to {uri} was denied ({shown})", advice)
    return StorageError(f"{uri}: {shown}", "Check the credentials, the region and the location.")


def untrusted(uri: str, why: str) -> StorageError:
    """The service showed a certificate that nobody here trusts."""
    return StorageError(
        f"{uri}: the certificate of the service is not trusted ({why})",
        "Name the file with your company's certificates in AWS_CA_BUNDLE, or in ca_bundle of the profile.",
    )


def unreadable_name(uri: str, why: str) -> InputError:
    """An object whose key cannot be requested."""
    return InputError(
        f"{uri}: {why}",
        "Give the object another name (no empty, `.` or `..` part, no control character), or leave it out: --exclude.",
    )


def _of_credentials(uri: str, why: str) -> FruitsError:
    """Credentials could not be renewed while the run went."""
    if _NETWORK.match(why):
        return TransientError(f"{uri}: the credentials cannot be renewed ({why})", AGAIN)
    return StorageError(f"{uri}: the AWS credentials are not valid any more ({why})", _SIGN_IN)


def first_line(error: BaseException) -> str:
    """The first line of what the error says, or else its type's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
