"""What `fruits emr init` has to be allowed is asked before anything is made; the table of it is AWS's own."""

from __future__ import annotations

import fnmatch
import functools
import json
from pathlib import Path

import cfnlint
import pytest

from engines.core.errors import InputError
from engines.emr.calls import Aws
from engines.emr.rights import (
    BY_TYPE,
    BY_TYPE_IN_A_NETWORK,
    BY_TYPE_OF_CLUSTERS,
    check_rights,
    rights_for,
    service_role_right,
)
from engines.emr.settings import EmrSettings
from tests.aws.cloudformation import TEMPLATE, Stack, read_template
from tests.aws.conftest import trust
from tests.aws.iam_simulator import Request, decide, install
from tests.aws.stand_in import ACCOUNT, REGION, StandIn
from tests.s3 import Aws as S3

CALLER = f"arn:aws:iam::{ACCOUNT}:user/admin"
NETWORK = {"ApplicationVpc": "vpc-0a", "ApplicationSubnets": "subnet-0a"}
CLUSTERS = {"ClusterVpc": "vpc-0a", "ClusterSubnet": "subnet-0a"}
NO_RETRIES = EmrSettings(region=REGION, patience_seconds=0.1)


def asked(stand_in: StandIn, parameters: dict[str, str] | None = None) -> str:
    line = check_rights(Aws(NO_RETRIES), parameters or {}, "fruits", REGION)
    assert stand_in.rejected == []
    return line


@functools.cache
def permissions(kind: str) -> frozenset[str]:
    """What CloudFormation's schemas of a type, of whatever region, say that its handlers call."""
    found: set[str] = set()
    for path in Path(cfnlint.__file__).parent.glob("data/schemas/resources/*.json"):
        text = path.read_text()
        if f'"typeName": "{kind}"' in text or f'"typeName":"{kind}"' in text:
            handlers = json.loads(text)["handlers"].values()
            found |= {action for handler in handlers for action in handler["permissions"]}
    return frozenset(found)


def tables(parameters: dict[str, str]) -> list[dict[str, dict[str, str]]]:
    network = [BY_TYPE_IN_A_NETWORK] if parameters else []
    return [BY_TYPE, *network, *([BY_TYPE_OF_CLUSTERS] if "ClusterVpc" in parameters else [])]


@pytest.mark.parametrize("parameters", [{}, NETWORK, CLUSTERS], ids=["plain", "in a VPC", "clusters"])
def test_every_type_of_the_template_has_its_rights(parameters: dict[str, str]):
    types = {
        resource["Type"]
        for resource in Stack("fruits", read_template(TEMPLATE.read_text()), parameters).resources().values()
    }
    assert {kind for table in tables(parameters) for kind in table} == types


def test_each_is_what_cloudformation_calls_for_the_type():
    for table in tables(CLUSTERS):
        for kind, rights in table.items():
            needed = {action for actions in rights.values() for action in actions.split()}
            known = permissions(kind)
            assert [action for action in needed if not any(fnmatch.fnmatchcase(action, one) for one in known)] == []


def test_iam_knows_each_action_on_such_a_resource():
    """An administrator is allowed all of it; the simulator refuses what AWS does not know."""
    install()
    rights = [*rights_for(CLUSTERS, "Fruits", REGION, CALLER), service_role_right(REGION, CALLER)]
    requests = [Request(action, right.resource, right.context) for right in rights for action in right.actions]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    decisions = decide(requests, {"AdministratorAccess": everything}, CALLER, ACCOUNT)
    assert [request for request, decision in decisions.items() if not decision.allowed] == []
    stars = [request for request in requests if request.resource == "*"]
    assert [request for request in stars if not decisions[request].star_only] == []


def test_who_has_them_is_told_so(stand_in: StandIn):
    plain, clusters = (int(asked(stand_in, parameters).split()[2]) for parameters in ({}, CLUSTERS))
    assert 30 < plain < clusters
    simulated = [parameters for name, parameters in stand_in.calls if name == "SimulatePrincipalPolicy"]
    assert {one["PolicySourceArn"] for one in simulated} == {stand_in.callers.arn}
    assert any(one["ActionNames"] == ["iam:CreateServiceLinkedRole"] for one in simulated)


def test_a_missing_right_is_named_with_who_lacks_it(stand_in: StandIn):
    stand_in.identities.lacks = {"iam:CreateRole": "policies", "emr-serverless:CreateApplication": "policies"}
    with pytest.raises(InputError) as caught:
        asked(stand_in)
    assert "user/staff/tests may not do what making the stack takes, and nothing was made" in caught.value.message
    assert "emr-serverless:CreateApplication, iam:CreateRole" in caught.value.message
    assert "an administrator once" in caught.value.hint


def test_what_the_organization_forbids_is_its_administrator_s(stand_in: StandIn):
    stand_in.identities.lacks = {"emr-serverless:CreateApplication": "organization"}
    with pytest.raises(InputError, match="nothing was made: emr-serverless:CreateApplication") as caught:
        asked(stand_in)
    assert "who administers AWS Organizations" in caught.value.hint


def test_what_clusters_take_is_asked_for_clusters_alone(stand_in: StandIn):
    stand_in.identities.lacks = {"kms:CreateKey": "policies", "ec2:CreateSecurityGroup": "policies"}
    assert asked(stand_in).startswith("rights: all ")
    for parameters, named in (
        (NETWORK, "ec2:CreateSecurityGroup"),
        (CLUSTERS, "ec2:CreateSecurityGroup, kms:CreateKey"),
    ):
        with pytest.raises(InputError) as caught:
            asked(stand_in, parameters)
        assert caught.value.message.endswith(f"nothing was made: {named}")


def test_a_condition_that_cannot_be_decided_stops_nobody(stand_in: StandIn):
    """Such as a policy that wants a second factor: the simulation does not know of the session."""
    stand_in.identities.lacks = {"iam:CreateRole": "aws:MultiFactorAuthPresent"}
    assert asked(stand_in) == (
        "rights: iam:CreateRole may be missing, which depends on aws:MultiFactorAuthPresent; all others are there"
    )


def test_where_iam_may_not_be_asked_it_is_said(stand_in: StandIn):
    stand_in.faults.deny["SimulatePrincipalPolicy"] = "not authorized to perform: iam:SimulatePrincipalPolicy"
    assert asked(stand_in) == "rights: not checked, iam:SimulatePrincipalPolicy is not allowed"
    stand_in.faults.deny.clear()
    stand_in.faults.throttle = 10**6
    assert asked(stand_in).startswith("rights: not checked, ")


@pytest.mark.parametrize("lookup", [True, False], ids=["role looked up", "role not looked up"])
def test_a_session_of_a_role_has_the_rights_of_the_role(stand_in: StandIn, aws: S3, lookup: bool):
    """One of IAM Identity Center has a path, which the name of the session does not show."""
    path = "/aws-reserved/sso.amazonaws.com/" if lookup else "/"
    name = f"AWSReservedSSO_Admin_{'a' if lookup else 'b'}"
    role = aws.client("iam").create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust("sso.amazonaws.com"))
    stand_in.callers.arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/me@example.com"
    if not lookup:
        stand_in.faults.deny["GetRole"] = "not authorized to perform: iam:GetRole"
    assert asked(stand_in).startswith("rights: all ")
    simulated = [parameters for operation, parameters in stand_in.calls if operation == "SimulatePrincipalPolicy"]
    assert {one["PolicySourceArn"] for one in simulated} == {role["Role"]["Arn"]}


@pytest.mark.parametrize("who", ["iam::{}:root", "sts::{}:federated-user/me"])
def test_who_has_no_policies_in_iam_is_not_checked(stand_in: StandIn, who: str):
    stand_in.callers.arn = f"arn:aws:{who.format(ACCOUNT)}"
    assert asked(stand_in).startswith("rights: not checked, IAM cannot be asked about ")
    assert stand_in.count("SimulatePrincipalPolicy") == 0


def test_the_first_application_of_an_account_needs_the_right_to_its_role(stand_in: StandIn, aws: S3):
    stand_in.identities.lacks = {"iam:CreateServiceLinkedRole": "policies"}
    with pytest.raises(InputError, match="nothing was made: iam:CreateServiceLinkedRole"):
        asked(stand_in)
    aws.client("iam").create_service_linked_role(AWSServiceName="ops.emr-serverless.amazonaws.com")
    aws.client("iam").create_role(
        RoleName="AWSServiceRoleForAmazonEMRServerless",
        AssumeRolePolicyDocument=trust("ops.emr-serverless.amazonaws.com"),
    )
    assert asked(stand_in).startswith("rights: all ")
