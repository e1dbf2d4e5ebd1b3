"""The CloudFormation template: least privilege, and outputs that are exactly what the flow asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engines.emr.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "deployments" / "emr" / "template.yaml"


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


def test_star_as_resource_where_aws_knows_none_and_only_there(template: dict[str, Any]):
    """The service authorization reference has no resource type for these two: with an ARN they would never match."""
    stars = {
        action: statement
        for name, statement in statements(template)
        for action in listed(statement["Action"])
        if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])) and name != "DiskKey"
    }
    assert set(stars) == {"elasticmapreduce:ListClusters", "elasticmapreduce:RunJobFlow"}
    # Only clusters with the tag that everything else is allowed on.
    condition = stars["elasticmapreduce:RunJobFlow"]["Condition"]
    assert condition == {"StringEquals": {"aws:RequestTag/for-use-with-amazon-emr-managed-policies": "true"}}


def test_the_jobs_role_learns_that_an_object_is_missing(template: dict[str, Any]):
    """S3 says 404 to who may list the bucket without a condition on the prefix, and 403 to everybody else."""
    (own,) = [
        statement
        for name, statement in statements(template)
        if (name, statement.get("Sid")) == ("JobPolicy", "ListOwnBucket")
    ]
    assert own["Resource"] == {"GetAtt": "Bucket.Arn"}
    assert "Condition" not in own


def test_a_whole_bucket_as_source_can_be_listed(template: dict[str, Any]):
    """Its listing names no prefix, which a condition on the prefix would refuse."""
    (source,) = [statement for name, statement in statements(template) if statement.get("Sid") == "ListSource"]
    condition, without, with_prefix = source["Condition"]["If"]
    assert without == {"Ref": "AWS::NoValue"}
    assert "StringLike" in with_prefix
    assert template["Conditions"][condition]["And"][1] == {"Equals": [{"Ref": "SourcePrefix"}, ""]}


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


def uv() -> str:
    """uv: the one that started this, the one that `make setup` installed, or the one on the PATH."""
    beside = [Path(sys.executable).with_name("uv"), ROOT / ".tools" / "bin" / "uv"]
    found = os.environ.get("UV") or next((str(path) for path in beside if path.is_file()), None) or shutil.which("uv")
    if found is None:
        pytest.fail("uv, which runs cfn-lint and checkov, is not here: `make setup` installs it")
    return found


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        ("cfn-lint@1.58.0", []),
        ("checkov@3.3.30", ["--quiet", "--compact", "--skip-download", "--framework", "cloudformation", "-f"]),
    ],
    ids=["cfn-lint", "checkov"],
)
def test_linters_find_nothing(tool: str, options: list[str], tmp_path: Path):
    run = [uv(), "tool", "run", "--quiet", tool]
    done = subprocess.run([*run, *options, str(TEMPLATE)], cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "CI" not in os.environ:
        there = subprocess.run([*run, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
        if there.returncode != 0:
            pytest.skip(f"{tool} cannot be downloaded here: {there.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_suppression_has_its_reason(template: dict[str, Any]):
    skips = [
        skip
        for resource in template["Resources"].values()
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]
    assert skips
    assert all(len(skip["comment"]) > 30 for skip in skips)
