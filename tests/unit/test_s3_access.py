"""S3 as companies have it: all of the AWS configuration counts, and what is wrong with it is one line and an advice."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from engines.core.errors import FruitsError, InputError, StorageError, TransientError
from engines.core.index.catalog import read_shard_entries, write_catalog
from engines.core.index.selection import Selection
from engines.core.sources import open_source
from engines.core.storage import aws as access
from engines.core.storage.aws import is_this_machine, s3_access
from engines.core.storage.objects import ObjectStorage, open_object_storage
from engines.core.storage.store_errors import translated
from tests.s3 import Aws
from tests.s3_answers import LISTING, Answer, Answers, Request, answering, good, refused

pytestmark = pytest.mark.usefixtures("quick_sessions")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS configuration but what a test makes, and little patience."""
    for name in os.environ:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(access, "RETRY_SECONDS", 3)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys by variables."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, keys: None) -> Iterator[Answers]:
    """A bucket with one photo, as the endpoint."""
    with answering(good) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


def assert_one_photo(storage: ObjectStorage) -> None:
    assert [(item.key, item.size, item.version) for item in storage.list()] == [("photo.jpg", 3, "abc")]
    assert storage.read("photo.jpg") == b"abc"


CONFIGS = {
    "of the profile": "[default]\nendpoint_url = ENDPOINT\n",
    "of a services section": "[default]\nservices = local\n[services local]\ns3 =\n  endpoint_url = ENDPOINT\n",
    "for all services and one for S3": "[default]\nendpoint_url = http://127.0.0.1:9\nservices = local\n"
    "[services local]\ns3 =\n  endpoint_url = ENDPOINT\n",
}


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "nothing": {},
    "a region": {"AWS_DEFAULT_REGION": "eu-central-1"},
    "an endpoint": {"AWS_ENDPOINT_URL": "http://minio:9000/"},
    "one for S3": {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_ENDPOINT_URL_S3": "https://s3.company"},
    "one that is ignored": {
        "AWS_ENDPOINT_URL_S3": "http://minio:9000",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    },
    "dual stack": {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "FIPS": {"AWS_DEFAULT_REGION": "us-east-2", "AWS_USE_FIPS_ENDPOINT": "true"},
    "China": {"AWS_DEFAULT_REGION": "cn-north-1"},
}


class TestEndpoint:
    @pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
    def test_the_configuration_files_endpoint_is_used(self, config: str, keys: None, tmp_path: Path) -> None:
        with answering(good) as running:
            (tmp_path / "config").write_text(config.replace("ENDPOINT", running.endpoint))
            assert_one_photo(open_object_storage("s3://b"))
            assert len(running.requests) == 2

    def test_variables_come_before_the_file_and_that_of_s3_first(
        self, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n")
        with answering(good) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", running.endpoint)
            assert_one_photo(open_object_storage("s3://b"))

    @pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
    def test_it_is_what_boto3_says(
        self, environment: dict[str, str], keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        options = s3_access("s3://b").options
        assert options["aws_endpoint_url_s3"] == client.meta.endpoint_url.rstrip("/")
        assert options["region"] == environment.get("AWS_DEFAULT_REGION", "us-east-1")
        assert options["client_options"]["allow_http"] == client.meta.endpoint_url.startswith("http:")

    def test_the_region_may_be_given_as_other_tools_have_it(self, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "eu-west-3")
        assert s3_access("s3://b").options["region"] == "eu-west-3"
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert s3_access("s3://b").options["region"] == "eu-west-1"

    def test_an_ignored_endpoint_gets_no_request(self, server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # AWS itself is out of reach
        storage = open_object_storage("s3://b")
        for action in (lambda: list(storage.list()), lambda: storage.read("photo.jpg")):
            with pytest.raises(TransientError):
                action()
        assert not server.requests

    def test_a_bucket_in_the_hosts_name(self, keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.company:9000")
        options = s3_access("s3://b").options
        assert options["aws_endpoint_url_s3"] == "https://b.s3.company:9000"
        assert options["virtual_hosted_style_request"]

    @pytest.mark.parametrize("endpoint", ["minio:9000", "127.0.0.1:9000", "minio", "ftp://minio"])
    def test_one_without_http_is_one_line(self, endpoint: str, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(InputError, match=endpoint) as error:
            open_object_storage("s3://b")
        assert "http://" in error.value.hint


PROCESS = "[default]\ncredential_process = "
BROKEN: dict[str, tuple[dict[str, str], str, str, str]] = {
    "a profile that does not exist": ({"AWS_PROFILE": "nobody"}, "[profile work]\nregion=x\n", "nobody", "work"),
    "half a pair of keys": ({"AWS_ACCESS_KEY_ID": "a"}, "", "AWS_SECRET_ACCESS_KEY", "both"),
    "half a pair in the profile": ({}, "[default]\naws_access_key_id=a\n", "aws_secret_access_key", "both"),
    "a file that is no configuration": ({}, "[default\nnonsense", "config", "Mend the file"),
    "a process that fails": (
        {},
        "[default]\ncredential_process = sh -c 'echo no >&2; exit 3'\n",
        "no",
        "by itself",
    ),
    "a process that is not there": (
        {},
        PROCESS + "/no/such/program\n",
        "/no/such/program",
        "~/.aws",
    ),
    "a process that says nothing": ({}, PROCESS + "true\n", "configuration", "~/.aws"),
    "a role without keys to take it": (
        {"AWS_PROFILE": "r"},
        "[profile r]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=s\n[profile s]\nregion=x\n",
        "source profile",
        "~/.aws/config",
    ),
    "a role of itself": (
        {"AWS_PROFILE": "r"},
        "[profile r]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=t\n"
        "[profile t]\nrole_arn=arn:aws:iam::1:role/t\nsource_profile=r\n",
        "loop",
        "~/.aws/config",
    ),
    "single sign-on without a session": (
        {"AWS_PROFILE": "s"},
        "[profile s]\nsso_session=co\nsso_account_id=1\nsso_role_name=r\nregion=eu-west-1\n"
        "[sso-session co]\nsso_region=eu-west-1\nsso_start_url=https://co.awsapps.com/start\n",
        "SSO",
        "aws sso login --profile s",
    ),
    "nothing at all": ({}, "", "no AWS credentials were found", "AWS_PROFILE"),
}


class TestConfiguration:
    @pytest.mark.parametrize(("environment", "config", "said", "advice"), BROKEN.values(), ids=BROKEN.keys())
    def test_what_is_wrong_is_one_line_with_what_to_do(
        self,
        environment: dict[str, str],
        config: str,
        said: str,
        advice: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "config").write_text(config)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError) as error:
            open_object_storage("s3://b/photos")
        assert said.lower() in error.value.message.lower()
        assert advice in error.value.hint
        assert "\n" not in error.value.message + error.value.hint

    def test_a_role_that_may_not_be_taken_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said = b"<Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message>"
        with answering(lambda _: Answer(b"<ErrorResponse><Error>" + said + b"</Error></ErrorResponse>", 403)) as sts:
            (tmp_path / "config").write_text(
                "[profile r]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=s\nregion=eu-west-1\n"
                f"[profile s]\naws_access_key_id=a\naws_secret_access_key=b\nendpoint_url={sts.endpoint}\n"
            )
            monkeypatch.setenv("AWS_PROFILE", "r")
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.endpoint)
            with pytest.raises(InputError) as error:
                open_object_storage("s3://b")
        assert "sts:AssumeRole" in error.value.message
        assert "who may take it" in error.value.hint

    def test_a_session_that_ends_while_the_run_goes_is_not_transient(self, server: Answers) -> None:
        import obstore
        from botocore.exceptions import UnauthorizedSSOTokenError
        from obstore.store import S3Store

        def expired() -> None:
            raise UnauthorizedSSOTokenError

        store = S3Store("b", endpoint=server.endpoint, region="us-east-1", credential_provider=expired)  # type: ignore[arg-type]
        with pytest.raises(StorageError, match="SSO session") as error, translated("s3://b/photo.jpg"):
            obstore.get(store, "photo.jpg")
        assert "aws sso login" in error.value.hint


class TestRenewal:
    def test_credentials_that_expire_while_the_run_goes_are_renewed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A program hands out another key each time; the service takes none that it has refused."""
        program, handed_out = tmp_path / "keys.py", tmp_path / "number"
        handed_out.write_text("0")
        program.write_text(
            "import datetime, json, pathlib\n"
            f"file = pathlib.Path({str(handed_out)!r})\n"
            "number = int(file.read_text()) + 1\n"
            "file.write_text(str(number))\n"
            "ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)\n"
            "print(json.dumps({'Version': 1, 'AccessKeyId': f'KEY{number:03d}', 'SecretAccessKey': 'secret',\n"
            "                  'SessionToken': 'token', 'Expiration': ends.isoformat()}))\n"
        )
        (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
        monkeypatch.setattr(access, "_RENEW", datetime.timedelta(0))
        refused_up_to = 0

        def answer(request: Request) -> Answer:
            key = re.search(r"Credential=KEY(\d+)/", request.headers["authorization"])
            assert key
            taken = int(key[1]) > refused_up_to
            return good(request) if taken else refused("ExpiredToken", "The provided token has expired.", 400)

        with answering(answer) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            storage = open_object_storage("s3://b")
            for _ in range(3):
                assert_one_photo(storage)
                refused_up_to = int(handed_out.read_text())
        assert refused_up_to >= 3


class TestWithoutCredentials:
    @pytest.mark.parametrize("value", ["true", "TRUE", "1", "b", "other, b"])
    def test_a_public_bucket_is_read_without(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(good) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            monkeypatch.setenv("AWS_SKIP_SIGNATURE", value)
            assert_one_photo(open_object_storage("s3://b"))
            assert not any("authorization" in request.headers for request in running.requests)

    @pytest.mark.parametrize("value", ["", "false", "other"])
    def test_others_are_not(self, value: str, server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", value)
        assert_one_photo(open_object_storage("s3://b"))
        assert all(request.headers["authorization"].startswith("AWS4-HMAC-SHA256") for request in server.requests)

    def test_who_pays_is_said(self, server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
        assert_one_photo(open_object_storage("s3://b"))
        assert not any("x-amz-request-payer" in request.headers for request in server.requests)
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        assert_one_photo(open_object_storage("s3://b"))
        assert all(request.headers["x-amz-request-payer"] == "requester" for request in server.requests[2:])


REFUSALS = {
    "no permission": ("AccessDenied", "Access Denied", "AWS_REQUEST_PAYER"),
    "archived": ("InvalidObjectState", "The operation is not valid for the object's storage class", "restore"),
    "clock": ("RequestTimeTooSkewed", "The difference between the request time and the server's is too large", "clock"),
    "unknown key": ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist", "endpoint"),
    "wrong secret": ("SignatureDoesNotMatch", "The request signature we calculated does not match", "secret key"),
    "KMS": ("AccessDenied", "User is not authorized to perform: kms:Decrypt on the resource", "kms:Decrypt"),
    "expired": ("ExpiredToken", "The provided token has expired.", "aws sso login"),
    "another": ("AllAccessDisabled", "All access to this object has been disabled", "policy"),
}


@pytest.mark.parametrize(("code", "message", "advice"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_shows_the_services_words_and_advice_that_fits(
    code: str, message: str, advice: str, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = 400 if code == "ExpiredToken" else 403
    with answering(lambda _: refused(code, message, status)) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        storage = open_object_storage("s3://b")
        for action in (lambda: list(storage.list()), lambda: storage.read("photo.jpg")):
            with pytest.raises(FruitsError) as error:
                action()
            assert type(error.value) is StorageError
            assert f"{code}: {message}" in error.value.message
            assert advice in error.value.hint
        assert len(running.requests) == 2, "a refusal is not repeated"


def test_a_bucket_in_another_region_says_so(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'"
    for answer in (refused("AuthorizationHeaderMalformed", said, 400), refused("PermanentRedirect", "elsewhere", 301)):
        with answering(lambda _, answer=answer: answer) as running:  # type: ignore[misc]
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            storage = open_object_storage("s3://b")
            for action in (lambda: list(storage.list()), lambda: storage.read("photo.jpg")):  # noqa: B023
                with pytest.raises(StorageError, match="another region") as error:
                    action()
                assert "AWS_DEFAULT_REGION" in error.value.hint


FAULTS = {
    "a cut body": Answer(LISTING[:300]),
    "a cut connection": Answer(LISTING[:300], length=len(LISTING)),
    "an empty body": Answer(b"", length=len(LISTING)),
    "slow down": refused("SlowDown", "Please reduce your request rate.", 503),
    "a fault of the service": refused("InternalError", "We encountered an internal error.", 500),
    "too many requests": Answer(b"", 429),
    "a request that timed out": refused("RequestTimeout", "Your socket connection was not read from.", 400),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    def test_a_listing_goes_on_after_a_fault(self, fault: Answer, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = iter([fault, fault])
        with answering(lambda request: next(answers, good(request))) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            assert [item.key for item in open_object_storage("s3://b").list()] == ["photo.jpg"]
            assert len(running.requests) == 3

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
    def test_a_fault_that_stays_ends_it_with_its_cause(
        self, fault: Answer, keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "RETRY_SECONDS", 1)
        with answering(lambda _: fault) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            with pytest.raises(TransientError) as error:
                list(open_object_storage("s3://b").list())
        assert "s3://b: " in error.value.message
        assert "\n" not in error.value.message

    def test_an_outage_is_survived_by_reads_writes_and_listings(
        self, keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Shorter than real ones; what bounds the attempts is time alone. Eight of them were over after 3 seconds.
        monkeypatch.setattr(access, "RETRY_SECONDS", 60)
        monkeypatch.setattr(access, "LONGEST_PAUSE", 1)
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = held.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        storage = open_object_storage("s3://b")
        done = threading.Event()

        def appear() -> None:
            threading.Event().wait(6)
            with answering(good, port):
                done.wait()

        thread = threading.Thread(target=appear)
        thread.start()
        try:
            assert storage.read("photo.jpg") == b"abc"
            assert [item.key for item in storage.list()] == ["photo.jpg"]
        finally:
            done.set()
            thread.join()

    def test_an_outage_that_lasts_names_its_cause(self, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setattr(access, "RETRY_SECONDS", 1)
        storage = open_object_storage("s3://b")
        with pytest.raises(TransientError, match=r"(?i)connection refused"):
            storage.read("photo.jpg")
        with pytest.raises(TransientError, match="Could not connect"):
            list(storage.list())


class TestProxies:
    def test_nothing_on_this_machine_goes_through_one(self, server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert_one_photo(open_object_storage("s3://b"))

    def test_what_is_elsewhere_does(self, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(good) as proxy:
            monkeypatch.setenv("http_proxy", proxy.endpoint)
            monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.company")
            assert_one_photo(open_object_storage("s3://b"))
            assert all(request.path.startswith("http://s3.company/") for request in proxy.requests)

    def test_this_machine_has_several_names(self) -> None:
        assert all(is_this_machine(host) for host in ("localhost", "127.0.0.1", "127.0.1.1", "::1", "s3.localhost"))
        assert not any(
            is_this_machine(host) for host in ("localhost.company", "10.0.0.1", "s3.amazonaws.com", "128.0.0.1")
        )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A company's own authority, and a server with a certificate of it for 127.0.0.1."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("authority")
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, is_authority: bool) -> Any:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )

    own, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("The Company", own, "The Company", is_authority=True).sign(own, hashes.SHA256())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = (
        certificate("s3", server, "The Company", is_authority=False)
        .add_extension(address, critical=False)
        .sign(own, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "company.pem").write_bytes(root.public_bytes(pem))
    key = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(leaf.public_bytes(pem) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "company.pem", context


class TestCertificates:
    def test_a_companys_own_are_trusted_when_named(
        self, authority: tuple[Path, ssl.SSLContext], keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle, tls = authority
        with answering(good, tls=tls) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
            assert_one_photo(open_object_storage("s3://b"))

    def test_the_profile_may_name_them(
        self, authority: tuple[Path, ssl.SSLContext], keys: None, tmp_path: Path
    ) -> None:
        bundle, tls = authority
        with answering(good, tls=tls) as running:
            config = f"[default]\nendpoint_url = {running.endpoint}\nca_bundle = {bundle}\n"
            (tmp_path / "config").write_text(config)
            assert_one_photo(open_object_storage("s3://b"))

    def test_others_are_the_cause_that_is_named_and_not_transient(
        self, authority: tuple[Path, ssl.SSLContext], keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering(good, tls=authority[1]) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            storage = open_object_storage("s3://b")
            for action in (lambda: list(storage.list()), lambda: storage.read("photo.jpg")):
                with pytest.raises(StorageError, match="certificate of the service is not trusted") as error:
                    action()
                assert "AWS_CA_BUNDLE" in error.value.hint

    def test_an_output_there_is_refused_for_it_without_another_attempt(
        self, authority: tuple[Path, ssl.SSLContext], keys: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "RETRY_SECONDS", 3600)
        with answering(good, tls=authority[1]) as running:
            monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
            with pytest.raises(InputError, match="certificate of the service is not trusted"):
                open_object_storage("s3://b").check_writable()

    def test_a_file_that_is_not_there_is_named(self, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
        with pytest.raises(InputError, match=r"/no/such/file\.pem") as error:
            open_object_storage("s3://b")
        assert "AWS_CA_BUNDLE" in error.value.hint


class TestOddKeys:
    """`aws` sets its variables anew for these, after `clean`."""

    @pytest.fixture(autouse=True)
    def at_the_server(self, aws: Aws, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def test_what_is_not_taken_cannot_stop_a_listing(self, aws: Aws, bucket: str, tmp_path: Path) -> None:
        photos = {"a/1.jpg": b"x", "b/2.jpg": b"y"}
        others = ["_SUCCESS", "a/_SUCCESS", "a_$folder$", "log//2026//x.txt", "a/../x.txt", "a/./x.txt", "tab\t.txt"]
        folders = ["a/", "b/", "empty/"]
        aws.put(bucket, photos | dict.fromkeys(others + folders, b""))
        catalog = write_catalog(f"s3://{bucket}", str(tmp_path / "output"), Selection())
        (shard,) = catalog.shards
        paths = [entry.path for entry in read_shard_entries(str(tmp_path / "output"), shard)]
        assert paths == [f"s3://{bucket}/{key}" for key in photos]
        assert catalog.listed == 2
        assert sum(catalog.left_out["no_photo"].values()) == len(others)

    @pytest.mark.parametrize("key", ["a//1.jpg", "a/../1.jpg", "tab\t.jpg"])
    def test_a_photo_of_any_key_is_a_photo_like_another(self, aws: Aws, bucket: str, key: str, tmp_path: Path) -> None:
        aws.put(bucket, {f"photos/{key}": b"x", "photos/z/2.jpg": b"y"})
        source = f"s3://{bucket}/photos"
        (shard,) = write_catalog(source, str(tmp_path / "output"), Selection()).shards
        photos = read_shard_entries(str(tmp_path / "output"), shard)
        assert [(photo.path, open_source(source).read(photo)) for photo in photos] == [
            (f"{source}/{key}", b"x"),
            (f"{source}/z/2.jpg", b"y"),
        ]


def test_an_answer_whose_length_is_not_true_is_asked_for_again(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: Request) -> Answer:
        if "range" in request.headers:
            return refused("InvalidRange", "The requested range is not satisfiable", 416)
        return Answer(b"abc", length=103 if asked.pop() else None)

    asked = [False, True]
    with answering(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        assert open_object_storage("s3://b").read("photo.jpg") == b"abc"
    assert asked == []


def test_requests_are_of_the_prefix_only(server: Answers) -> None:
    list(open_object_storage("s3://b/photos 2026").list("a+b"))
    (request,) = server.requests
    assert isinstance(request, Request)
    assert "prefix=photos%202026%2Fa%2Bb%2F" in request.path


@pytest.mark.parametrize("location", ["s3://b//photos", "s3://b/a//photos", "s3://b/../photos", "s3://b/a/./photos"])
def test_a_prefix_that_cannot_be_requested_is_refused(location: str, keys: None) -> None:
    with pytest.raises(InputError, match=r"empty, `\.` or `\.\.` part"):
        open_object_storage(location)
