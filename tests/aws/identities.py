"""IAM and STS on the stand-in: who calls, and what IAM says of their rights. Roles are moto's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.aws.stand_in import StandIn

Json = dict[str, Any]


class Callers:
    """STS: whose credentials these are."""

    arn = "arn:aws:iam::123456789012:user/staff/tests"

    def get_caller_identity(self) -> Json:
        return {"Account": "123456789012", "UserId": "AIDATESTS", "Arn": self.arn}


class Identities:
    """IAM: simulates the policies of whoever has any, and hands the rest on to moto."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.lacks: dict[str, str] = {}
        """Action -> why it would not be allowed: `policies`, `organization`, or a key that a condition needs."""
        self._moto: Any = None

    def simulate_principal_policy(
        self, PolicySourceArn: str, ActionNames: list[str], ResourceArns: list[str], ContextEntries: list[Json]
    ) -> Json:
        kind, _, name = PolicySourceArn.split(":", 5)[5].partition("/")
        if ":iam:" not in PolicySourceArn or kind not in ("user", "group", "role"):
            raise _error(
                400, "InvalidInput", f"Invalid Entity Arn: {PolicySourceArn} does not clearly define entity type"
            )
        if kind == "role" and self.get_role(RoleName=name.rsplit("/", 1)[-1])["Role"]["Arn"] != PolicySourceArn:
            raise _error(404, "NoSuchEntity", f"The role {name} cannot be found")
        assert len(ResourceArns) == 1
        assert {"ContextKeyName", "ContextKeyType", "ContextKeyValues"} == set(ContextEntries[0])
        return {"EvaluationResults": [self._decision(action, ResourceArns[0]) for action in ActionNames]}

    def _decision(self, action: str, resource: str) -> Json:
        why = self.lacks.get(action)
        decision = {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": {None: "allowed", "organization": "explicitDeny"}.get(why, "implicitDeny"),
            "MissingContextValues": [],
        }
        if why == "organization":
            decision["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": False}
        elif why is not None and why != "policies":
            # Where resources are named, IAM gives the keys with each of them.
            one = {"EvalResourceName": resource, "EvalResourceDecision": "implicitDeny", "MissingContextValues": [why]}
            decision["ResourceSpecificResults"] = [one]
        return decision

    def __getattr__(self, operation: str) -> Callable[..., Json]:
        def call(**parameters: Any) -> Json:
            self._moto = self._moto or boto3.client("iam", endpoint_url=self.stand_in.endpoint_s3)
            try:
                answer: Json = getattr(self._moto, operation)(**parameters)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                raise _error(status, error.response["Error"]["Code"], error.response["Error"]["Message"]) from error
            del answer["ResponseMetadata"]
            return dict(_written(answer))

        return call


def _written(value: Any) -> Any:
    """As AWS sends it: boto3 has read policies, which are text."""
    if isinstance(value, list):
        return [_written(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: json.dumps(each) if key.endswith("PolicyDocument") else _written(each) for key, each in value.items()}


def _error(status: int, code: str, message: str) -> Exception:
    from tests.aws.stand_in import AwsError

    return AwsError(status, code, message)
