"""How S3 is reached: endpoint, region, certificates and credentials, as boto3 finds them.

boto3 reads the AWS_* variables, the profile, its services section and switches, a machine's role, and single sign-on.
It is asked what it would use, so that no second reading of that configuration can differ from it. Besides:

- AWS_SKIP_SIGNATURE: `true`, or the names of buckets with commas between, are read without credentials, as public
  buckets are.
- AWS_REQUEST_PAYER: `requester` says that this account pays for requests.
- AWS_REGION is used if boto3 finds no region.
- Nothing on this machine goes through a proxy, whatever HTTP_PROXY says.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engines.core.errors import InputError, TransientError
from engines.core.storage.locations import why_unreadable
from engines.core.storage.store_errors import first_line, of_botocore, unreadable_name

if TYPE_CHECKING:
    from obstore.store import ObjectStore

RETRY_SECONDS = 120.0
"""So long a request is repeated, from its first attempt: an outage of 75 s is survived."""

LONGEST_PAUSE = 10.0
"""Seconds between attempts at most."""

REQUEST_SECONDS = 60
"""An attempt is given up after so many seconds without a byte (see `waiting`)."""

_RENEW = timedelta(minutes=10)
"""So often boto3 is asked for the credentials; it renews those that expire within 15 minutes."""

_NO_KEYS = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login`."


@dataclass(frozen=True, slots=True)
class S3Access:
    """How one bucket is reached: `options` for obstore's S3Store, and boto3's `client`, which lists.

    `new_client`: another one, which waits so many seconds for the next bytes; the same one for the same time.
    """

    bucket: str
    prefix: str
    options: dict[str, Any]
    client: Any
    payer: dict[str, str]
    """What a request of boto3 says about who pays."""
    new_client: Callable[[float], Any]

    def store(self, client_options: dict[str, Any], retry_config: Any) -> ObjectStore:
        """obstore's store for this bucket and prefix, with more client options and this retry configuration."""
        from obstore.store import S3Store

        options = {**self.options, "client_options": {**self.options["client_options"], **client_options}}
        return S3Store(self.bucket, prefix=self.prefix or None, retry_config=retry_config, **options)


def s3_access(location: str) -> S3Access:
    """How the bucket of a normalized `s3://` location is reached.

    Raises InputError for a configuration that boto3 cannot use, and when there are no credentials; TransientError when
    what hands them out cannot be reached. Requests nothing of S3.
    """
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if prefix and (why := why_unreadable(prefix)):
        raise unreadable_name(location, why)
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import get_session
    except ModuleNotFoundError as error:
        raise InputError(f"{location} needs the package boto3", "Install fruit-features[aws].") from error

    anonymous = reads_without_credentials(bucket)
    with _explained(location):
        configuration = get_session()
        session = boto3.Session(botocore_session=configuration)
        region = session.region_name or os.environ.get("AWS_REGION") or "us-east-1"
        # One attempt: there is one place that repeats a request (see repetition).
        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=10,
            read_timeout=REQUEST_SECONDS,
            signature_version=UNSIGNED if anonymous else None,
        )
        client = session.client("s3", region_name=region, config=config)
        endpoint = str(client.meta.endpoint_url).rstrip("/")
        address = urlsplit(endpoint)
        if address.scheme not in {"http", "https"}:
            raise ValueError(f"Invalid endpoint: {endpoint}")
        here = is_this_machine(address.hostname or "")
        if here:
            config = config.merge(Config(proxies={}))
            client = session.client("s3", region_name=region, config=config)
        options: dict[str, Any] = {
            "region": region,
            "skip_signature": anonymous,
            "client_options": {"allow_http": address.scheme == "http"},
        }
        if here:
            # obstore has no switch to ignore the proxy variables; a proxy of its own replaces them, and serves no host.
            excluded = f"{address.hostname},127.0.0.1,::1"
            options["client_options"] |= {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": excluded}
        if bundle := configuration.get_config_variable("ca_bundle"):
            options["client_options"]["root_certificate"] = _certificates(bundle)
        if (client.meta.config.s3 or {}).get("addressing_style") == "virtual":
            options["virtual_hosted_style_request"] = True
            endpoint = f"{address.scheme}://{bucket}.{address.netloc}{address.path}"
        # The most special of the ways to say it: otherwise obstore would prefer the variable of that name.
        options["aws_endpoint_url_s3"] = endpoint
        if not anonymous:
            options["credential_provider"] = _credentials(session, location)
    pays = os.environ.get("AWS_REQUEST_PAYER", "").lower() in {"requester", "true", "1"}
    options["request_payer"] = pays

    @functools.cache
    def new_client(seconds: float) -> Any:
        return session.client("s3", region_name=region, config=config.merge(Config(read_timeout=seconds)))

    return S3Access(bucket, prefix, options, client, {"RequestPayer": "requester"} if pays else {}, new_client)


def reads_without_credentials(bucket: str) -> bool:
    """Whether AWS_SKIP_SIGNATURE is true, or names this bucket."""
    value = os.environ.get("AWS_SKIP_SIGNATURE", "")
    return value.lower() in {"true", "1"} or bucket in {name.strip() for name in value.split(",")}


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    return host in {"localhost", "::1"} or host.startswith("127.") or host.endswith(".localhost")


def _credentials(session: Any, location: str) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider

    found = session.get_credentials()
    if found is None or found.get_frozen_credentials().access_key is None:
        raise InputError(
            f"no AWS credentials were found for {location}",
            f"{_NO_KEYS} A public bucket is read without: AWS_SKIP_SIGNATURE=BUCKET.",
        )
    return Boto3CredentialProvider(session, ttl=_RENEW)


def _certificates(bundle: str) -> bytes:
    try:
        with open(bundle, "rb") as file:
            return file.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"the certificates {bundle} cannot be read: {reason}", "Check AWS_CA_BUNDLE.") from error


@contextlib.contextmanager
def _explained(location: str) -> Iterator[None]:
    """What boto3 says of the configuration it reads, as InputError with what to do; TransientError for the network."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.ClientError, exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        answer = of_botocore(location, error)
        if isinstance(answer, TransientError):
            raise answer from error
        raise InputError(f"AWS gives no credentials: {first_line(error)}", _advice(error)) from error
    except (exceptions.BotoCoreError, ValueError, OSError) as error:
        raise InputError(f"the AWS configuration cannot be used: {first_line(error)}", _advice(error)) from error


def _advice(error: Exception) -> str:
    """What to do about a configuration that boto3 cannot use."""
    from botocore import exceptions
    from botocore.session import Session

    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    if isinstance(error, exceptions.ProfileNotFound):
        known = ", ".join(Session().available_profiles) or "none is configured"
        return f"Set AWS_PROFILE to a profile that exists: {known}; or run `aws configure --profile {profile}`."
    if str(error).startswith("Invalid endpoint"):
        return "Write it with http:// or https://, in AWS_ENDPOINT_URL(_S3) or as endpoint_url in the profile."
    if isinstance(error, exceptions.ClientError):
        return f"Check the role of the profile {profile}, who may take it, and the keys that do."
    advice: list[tuple[tuple[type[Exception], ...], str]] = [
        (
            (exceptions.PartialCredentialsError,),
            "Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither; in a profile likewise.",
        ),
        (
            (exceptions.ConfigParseError, exceptions.ConfigNotFound),
            "Mend the file, or name others in AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE.",
        ),
        ((exceptions.SSOError, exceptions.TokenRetrievalError), f"Sign in: aws sso login --profile {profile}."),
        (
            (exceptions.InvalidConfigError, exceptions.UnknownCredentialError, exceptions.InfiniteLoopConfigError),
            f"Mend the profile {profile} in ~/.aws/config, or set AWS_PROFILE to another.",
        ),
        (
            (exceptions.CredentialRetrievalError,),
            f"Run the credential_process of the profile {profile} by itself to see what it says.",
        ),
    ]
    fitting = (text for kinds, text in advice if isinstance(error, kinds))
    return next(fitting, f"Check the AWS_* variables and the profile {profile} in ~/.aws/config.")
