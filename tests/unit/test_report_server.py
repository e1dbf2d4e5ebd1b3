"""Reports over http: those of published outputs, and no other file of the machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

pytest.importorskip("prefect", reason="prefect is not installed: fruit-features[flows]")

from deployments.report_server import application, file_of_output


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """An output with a report, in a folder whose name has a blank."""
    folder = tmp_path / "my output"
    folder.mkdir()
    (folder / "report.html").write_text("<h1>fruit features</h1>")
    (folder / "run.json").write_text(json.dumps({"results": "results/p"}))
    (folder / "other.html").write_text("not a report")
    return folder


def get(path: str, host: str = "127.0.0.1") -> int:
    client = TestClient(application(), base_url=f"http://{host}:4201")
    return int(client.get(path).status_code)


def test_the_report_of_an_output_is_served_and_may_not_load_anything(published: Path) -> None:
    client = TestClient(application(), base_url="http://127.0.0.1:4201")
    answer = client.get(f"{quote(str(published))}/report.html")
    assert (answer.status_code, answer.text) == (200, "<h1>fruit features</h1>")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "{output}/other.html",
        "{output}/",
        "{output}/%2e%2e/my%20output/report.html",
        "/{output}/report.html",
        "{output}/report.html%00.txt",
    ],
)
def test_anything_else_is_not_there(published: Path, path: str) -> None:
    assert get(path.format(output=quote(str(published)))) == 404


def test_a_path_is_taken_as_it_is_or_not_at_all(published: Path) -> None:
    (published / "sub").mkdir()
    assert file_of_output(f"{published}/sub/../report.html") is None
    assert file_of_output(f"{published}//report.html") is None


def test_a_report_without_a_published_output_is_not_there(published: Path) -> None:
    (published / "run.json").unlink()
    assert get(f"{quote(str(published))}/report.html") == 404


def test_a_link_to_another_file_is_not_followed(published: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (published / "report.html").unlink()
    (published / "report.html").symlink_to(tmp_path / "secret")
    assert file_of_output(f"{published}/report.html") is None


def test_an_output_reached_through_a_linked_folder_is_served(published: Path, tmp_path: Path) -> None:
    os.symlink(published, tmp_path / "linked")
    assert file_of_output(f"{tmp_path}/linked/report.html") == f"{published}/report.html"


def test_only_this_machines_own_names_are_answered(published: Path) -> None:
    assert get(f"{quote(str(published))}/report.html", host="rebound.example") == 400


def test_nothing_can_be_written(published: Path) -> None:
    client = TestClient(application(), base_url="http://127.0.0.1:4201")
    assert client.put(f"{quote(str(published))}/report.html", content="x").status_code == 405
