"""The CloudFormation template: least privilege, and outputs that are exactly what the flow asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engines.emr.settings import load_settings

TEMPLATE = Path(__file__).resolve().parents[2] / "deployments" / "emr" / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads !Ref and the like as {"Ref": ...}."""


def _function(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix: value}


_Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a subclass of SafeLoader


def statements(template: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy, with the name of its resource."""

    def below(name: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(value, dict):
            if "Effect" in value:
                yield name, value
            for inner in value.values():
                yield from below(name, inner)
        elif isinstance(value, list):
            for inner in value:
                yield from below(name, inner)

    for name, resource in template["Resources"].items():
        yield from below(name, resource)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_no_statement_allows_everything_on_everything(template: dict[str, Any]):
    found = list(statements(template))
    assert len(found) > 20
    for name, statement in found:
        if statement["Effect"] == "Allow":
            assert "*" not in listed(statement["Action"]), name
            assert not [action for action in listed(statement["Action"]) if re.fullmatch(r"\w+:\*", str(action))], name


def test_star_as_resource_only_where_aws_knows_none(template: dict[str, Any]):
    stars = [
        (name, tuple(listed(statement["Action"])))
        for name, statement in statements(template)
        if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])) and name != "DiskKey"
    ]
    assert stars == [("ClusterSubmitterPolicy", ("elasticmapreduce:ListClusters",))]


def test_the_jobs_role_has_no_star_resource_and_writes_only_output_and_logs(template: dict[str, Any]):
    writes = []
    for name, statement in statements(template):
        if name == "JobPolicy":
            assert "*" not in listed(statement["Resource"])
            if "s3:PutObject" in listed(statement["Action"]):
                writes += listed(statement["Resource"])
    assert writes == [{"Sub": "${Bucket.Arn}/output/*"}, {"Sub": "${Bucket.Arn}/artifacts/logs/*"}]


def test_nothing_is_open_to_ssh(template: dict[str, Any]):
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            assert "SecurityGroupIngress" not in resource["Properties"]


def test_its_output_is_a_config_file_that_is_understood(template: dict[str, Any], tmp_path: Path):
    text, inner = template["Outputs"]["Settings"]["Value"]["Sub"]
    text = text.replace("${ClusterSettings}", inner["ClusterSettings"]["If"][1]["Sub"]).replace("${CpuName}", "arm64")
    config = tmp_path / "fruits.toml"
    config.write_text(re.sub(r"\$\{([\w.:]+)\}", r"value-of-\1", text))
    settings = load_settings(config=str(config), environ={})
    assert settings.execution_role == "value-of-ExecutionRole.Arn"
    assert settings.security_group_service == "value-of-ServiceGroup"
    assert settings.artifacts == "s3://value-of-Bucket/artifacts"


@pytest.mark.parametrize(
    "command",
    [
        ["cfn-lint@1.58.0", str(TEMPLATE)],
        [
            "checkov@3.3.30",
            "--quiet",
            "--compact",
            "--skip-download",
            "--framework",
            "cloudformation",
            "-f",
            str(TEMPLATE),
        ],
    ],
    ids=lambda command: command[0],
)
def test_linters_find_nothing(command: list[str], tmp_path: Path):
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed, which runs cfn-lint and checkov")
    done = subprocess.run(
        ["uv", "tool", "run", "--quiet", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_suppression_has_its_reason(template: dict[str, Any]):
    skips = [
        skip
        for resource in template["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert skips
    assert all(len(skip["comment"]) > 30 for skip in skips)
