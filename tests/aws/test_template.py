"""The CloudFormation template: least privilege, and outputs that are exactly what the flow asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.package import ROOT
from engines.emr.settings import load_settings
from tests.aws.cloudformation import TEMPLATE, read_template


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_template(TEMPLATE.read_text())


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
    """The service authorization reference has no resource type for these: with an ARN they would never match."""
    stars = {
        action: statement
        for name, statement in statements(template)
        for action in listed(statement["Action"])
        if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])) and name != "DiskKey"
    }
    assert set(stars) == {
        "elasticmapreduce:ListClusters",
        "elasticmapreduce:RunJobFlow",
    }
    # Only clusters with the tag that everything else is allowed on.
    condition = stars["elasticmapreduce:RunJobFlow"]["Condition"]
    assert condition == {"StringEquals": {"aws:RequestTag/for-use-with-amazon-emr-managed-policies": "true"}}


def test_the_jobs_role_learns_that_an_object_is_missing(template: dict[str, Any]):
    """S3 says 404 to who may list the bucket without a condition on the prefix, and 403 to everybody else."""
    own = statement_of(template, "JobPolicy", "ListOwnBucket")
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


Rule = tuple[str, int, int, str]
"""Protocol, first and last port, and the group on the other side."""


def rules(template: dict[str, Any], group: str, direction: str) -> set[Rule]:
    """The rules of a security group, in the group itself and in resources of their own."""
    other = {"SecurityGroupIngress": "SourceSecurityGroupId", "SecurityGroupEgress": "DestinationSecurityGroupId"}
    found = list(template["Resources"][group]["Properties"].get(direction, []))
    for resource in template["Resources"].values():
        if resource["Type"] == f"AWS::EC2::{direction}" and resource["Properties"]["GroupId"] == {"Ref": group}:
            found.append(resource["Properties"])
    # A rule for a range of addresses has no group on the other side, and raises here.
    return {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule[other[direction]]["Ref"]) for rule in found}


def test_nothing_is_open_to_other_networks(template: dict[str, Any]):
    """SSH and all else: whoever connects is an instance of the cluster, or the service by its group."""
    groups = [name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::EC2::SecurityGroup"]
    assert len(groups) == 4
    for group in groups:
        for *_, source in rules(template, group, "SecurityGroupIngress"):
            assert source in {"PrimaryGroup", "CoreGroup", "ServiceGroup"}
    assert rules(template, "ApplicationGroup", "SecurityGroupIngress") == set()


def test_the_service_s_group_has_the_rules_that_emr_demands_and_does_not_add(template: dict[str, Any]):
    """Without them a cluster ends with VALIDATION_ERROR: "missing ingress rule ... on port 9443".

    Port 443 is for emr-spark-8.0.0 and later, where the group belongs to an endpoint of EMR in the VPC.
    """
    assert rules(template, "ServiceGroup", "SecurityGroupIngress") == {
        ("tcp", 9443, 9443, "PrimaryGroup"),
        ("tcp", 443, 443, "PrimaryGroup"),
        ("tcp", 443, 443, "CoreGroup"),
    }
    assert rules(template, "ServiceGroup", "SecurityGroupEgress") == {
        ("tcp", 8443, 8443, "PrimaryGroup"),
        ("tcp", 8443, 8443, "CoreGroup"),
    }


@pytest.mark.parametrize("group", ["PrimaryGroup", "CoreGroup"])
def test_instances_have_every_rule_that_emr_would_add(template: dict[str, Any], group: str):
    """Rules that EMR added would refer to the groups, and keep the stack from being deleted."""
    between = {
        (protocol, *ports, other)
        for protocol, ports in {"tcp": (0, 65535), "udp": (0, 65535), "icmp": (-1, -1)}.items()
        for other in ("PrimaryGroup", "CoreGroup")
    }
    assert rules(template, group, "SecurityGroupIngress") == between | {("tcp", 8443, 8443, "ServiceGroup")}


def statement_of(template: dict[str, Any], resource: str, sid: str) -> dict[str, Any]:
    (found,) = [
        statement for name, statement in statements(template) if (name, statement.get("Sid")) == (resource, sid)
    ]
    return found


def test_emr_may_create_its_endpoint_and_no_other(template: dict[str, Any]):
    """From emr-spark-8.0.0 on, clusters in a private subnet are reached by it."""
    endpoint = statement_of(template, "ServiceRole", "OnlyEmr")
    assert endpoint["Action"] == ["ec2:CreateVpcEndpoint", "ec2:ModifyVpcEndpoint"]
    service = endpoint["Condition"]["StringEquals"]["ec2:VpceServiceName"]
    assert service == {"Sub": "aws.api.${AWS::Region}.emr-service-cell01"}
    network = statement_of(template, "ServiceRole", "InThisNetwork")
    assert network["Action"] == endpoint["Action"]
    places = [resource["Sub"].rpartition(":")[2] for resource in network["Resource"]]
    assert places == ["vpc/${ClusterVpc}", "subnet/${ClusterSubnet}", "security-group/${ServiceGroup.GroupId}"]


def test_who_creates_the_first_cluster_of_an_account_may_create_its_service_linked_role(template: dict[str, Any]):
    statement = statement_of(template, "ClusterSubmitterPolicy", "CreateTheCleanupRole")
    assert statement["Action"] == "iam:CreateServiceLinkedRole"
    assert "AWSServiceRoleForEMRCleanup" in statement["Resource"]["Sub"]
    services = statement["Condition"]["StringEquals"]["iam:AWSServiceName"]
    assert "elasticmapreduce.amazonaws.com" in services


def test_the_submitter_may_read_the_images_of_another_bucket_for_the_report(template: dict[str, Any]):
    submitter = statement_of(template, "SubmitterPolicy", "ReadSource")
    jobs = statement_of(template, "JobPolicy", "ReadSource")
    assert submitter["Action"] == jobs["Action"] == "s3:GetObject"
    assert submitter["Resource"] == jobs["Resource"]["If"][2]


@pytest.mark.parametrize("policy", ["JobPolicy", "SubmitterPolicy"])
def test_keys_of_both_buckets_may_be_used_by_who_reads_and_writes_them(template: dict[str, Any], policy: str):
    source = statement_of(template, policy, "DecryptSource")
    assert (source["Action"], source["Resource"]) == ("kms:Decrypt", {"Ref": "SourceKmsKey"})
    own = statement_of(template, policy, "UseTheBucketsKey")
    assert (own["Action"], own["Resource"]) == (["kms:Decrypt", "kms:GenerateDataKey"], {"Ref": "BucketKmsKey"})


def test_the_application_runs_in_private_subnets_when_they_are_given(template: dict[str, Any]):
    condition, network, _ = template["Resources"]["Application"]["Properties"]["NetworkConfiguration"]["If"]
    assert condition == template["Resources"]["ApplicationGroup"]["Condition"] == "InVpc"
    assert network == {
        "SubnetIds": {"Split": [",", {"Ref": "ApplicationSubnets"}]},
        "SecurityGroupIds": [{"Ref": "ApplicationGroup"}],
    }


def test_the_owner_of_a_bucket_in_another_account_gets_the_statement_it_needs(template: dict[str, Any]):
    text, inner = template["Outputs"]["SourceBucketStatement"]["Value"]["Sub"]
    for principals in inner["Principals"]["If"][1:]:
        statement = json.loads(text.replace("${Principals}", principals["Sub"]))
        assert "${ExecutionRole.Arn}" in statement["Principal"]["AWS"]
        assert statement["Action"] == ["s3:GetObject", "s3:ListBucket"]
        assert statement["Resource"][1].endswith("/${SourcePrefix}*")


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
