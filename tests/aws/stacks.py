"""CloudFormation on the stand-in: stacks of the template, with what they make on moto, and their events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3

from tests.aws.cloudformation import Stack, TemplateError, read_template

if TYPE_CHECKING:
    from tests.aws.stand_in import StandIn

Json = dict[str, Any]


@dataclass
class Made:
    """A stack, its state, what is left to do, and its events, the oldest first."""

    stack: Stack
    identity: str
    status: str
    token: str = ""
    present: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)


class Stacks:
    """Stacks by name. A resource is made or removed each time that somebody asks how far they are."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self.made: dict[str, Made] = {}
        self.gone: dict[str, Made] = {}
        self.refuse: dict[str, str] = {}
        """Logical name of a resource -> why it cannot be made."""

    def create_stack(self, StackName: str, TemplateBody: str, **request: Any) -> Json:
        if StackName in self.made and self.made[StackName].token == request["ClientRequestToken"]:
            return {"StackId": self.made[StackName].identity}
        if StackName in self.made:
            raise _error("AlreadyExistsException", f"Stack [{StackName}] already exists")
        stack = self._stack(StackName, TemplateBody, request)
        identity = f"arn:aws:cloudformation:us-east-1:123456789012:stack/{StackName}/{len(self.gone) + 1}"
        made = Made(stack, identity, "CREATE_IN_PROGRESS", request["ClientRequestToken"], to_do=list(stack.resources()))
        self.made[StackName] = made
        self._say(made, StackName, "CREATE_IN_PROGRESS", "User Initiated")
        return {"StackId": identity}

    def update_stack(self, StackName: str, TemplateBody: str, **request: Any) -> Json:
        made = self._find(StackName)
        if made.status.startswith(("ROLLBACK", "DELETE")):
            raise _error("ValidationError", f"Stack:{made.identity} is in {made.status} state and can not be updated.")
        stack = self._stack(StackName, TemplateBody, request)
        if (stack.template, stack.parameters) == (made.stack.template, made.stack.parameters):
            raise _error("ValidationError", "No updates are to be performed.")
        made.stack, made.status = stack, "UPDATE_IN_PROGRESS"
        made.to_do = [name for name in stack.resources() if name not in made.present]
        return {"StackId": made.identity}

    def delete_stack(self, StackName: str, **_: Any) -> Json:
        made = self._find(StackName)
        made.status, made.to_do = "DELETE_IN_PROGRESS", list(reversed(made.present))
        return {}

    def describe_stacks(self, StackName: str) -> Json:
        made = self._find(StackName)
        if made.status.endswith("IN_PROGRESS"):
            self._advance(made)
        one = {
            "StackId": made.identity,
            "StackName": made.stack.name,
            "CreationTime": datetime.now(UTC),
            "StackStatus": made.status,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in made.stack.parameters.items()
            ],
        }
        if made.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            outputs = made.stack.outputs().items()
            one["Outputs"] = [{"OutputKey": key, "OutputValue": value} for key, value in outputs]
        return {"Stacks": [one]}

    def describe_stack_events(self, StackName: str) -> Json:
        return {"StackEvents": list(reversed(self._find(StackName).events))}

    def list_stack_resources(self, StackName: str) -> Json:
        made = self._find(StackName)
        return {
            "StackResourceSummaries": [
                {
                    "LogicalResourceId": name,
                    "PhysicalResourceId": made.stack.physical(name),
                    "ResourceType": made.stack.template["Resources"][name]["Type"],
                    "LastUpdatedTimestamp": datetime.now(UTC),
                    "ResourceStatus": "CREATE_COMPLETE",
                }
                for name in made.present
            ]
        }

    def _stack(self, name: str, text: str, request: Json) -> Stack:
        if "CAPABILITY_IAM" not in request.get("Capabilities", []):
            raise _error("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
        former = self.made[name].stack.parameters if name in self.made else {}
        given = {
            one["ParameterKey"]: former[one["ParameterKey"]] if one.get("UsePreviousValue") else one["ParameterValue"]
            for one in request.get("Parameters", [])
        }
        try:
            return Stack(name, read_template(text), given)
        except TemplateError as error:
            raise _error("ValidationError", str(error)) from error

    def _find(self, name: str) -> Made:
        for made in (*self.made.values(), *self.gone.values()):
            if name == made.identity or (name == made.stack.name and made.status != "DELETE_COMPLETE"):
                return made
        raise _error("ValidationError", f"Stack with id {name} does not exist")

    def _advance(self, made: Made) -> None:
        if made.to_do:
            self._step(made, made.to_do.pop(0))
            return
        made.status = made.status.replace("IN_PROGRESS", "COMPLETE")
        self._say(made, made.stack.name, made.status, "")
        if made.status == "DELETE_COMPLETE":
            self.gone[made.identity] = self.made.pop(made.stack.name)

    def _step(self, made: Made, name: str) -> None:
        if made.status == "DELETE_IN_PROGRESS":
            if why := self._remove(made, name):
                self._say(made, name, "DELETE_FAILED", why)
                made.status, made.to_do = "DELETE_FAILED", []
                return
            made.present.remove(name)
            kept = made.stack.template["Resources"][name].get("DeletionPolicy", "").startswith("Retain")
            self._say(made, name, "DELETE_SKIPPED" if kept else "DELETE_COMPLETE", "")
        elif name in self.refuse:
            self._say(made, name, "CREATE_FAILED", self.refuse[name])
            for other in made.to_do:
                self._say(made, other, "CREATE_FAILED", "Resource creation cancelled")
            made.status, made.to_do, made.present = "ROLLBACK_IN_PROGRESS", [], []
        else:
            self._make(made.stack, name)
            made.present.append(name)
            self._say(made, name, "CREATE_COMPLETE", "")

    def _make(self, stack: Stack, name: str) -> None:
        resource = stack.resources()[name]
        if resource["Type"] == "AWS::S3::Bucket":
            boto3.client("s3").create_bucket(Bucket=stack.physical(name))
        elif resource["Type"] == "AWS::IAM::Role":
            trust = json.dumps(resource["Properties"]["AssumeRolePolicyDocument"])
            boto3.client("iam", endpoint_url=self.stand_in.endpoint_s3).create_role(
                RoleName=stack.physical(name), AssumeRolePolicyDocument=trust
            )

    def _remove(self, made: Made, name: str) -> str:
        kind = made.stack.template["Resources"][name]["Type"]
        if kind == "AWS::EMRServerless::Application" and self.stand_in.serverless.application["state"] == "STARTED":
            return "Application must be in stopped or created state to be deleted"
        if kind == "AWS::IAM::Role":
            boto3.client("iam", endpoint_url=self.stand_in.endpoint_s3).delete_role(RoleName=made.stack.physical(name))
        return ""

    def _say(self, made: Made, name: str, status: str, reason: str) -> None:
        made.events.append(
            {
                "StackId": made.identity,
                "EventId": f"{made.identity}-{len(made.events)}",
                "StackName": made.stack.name,
                "LogicalResourceId": name,
                "Timestamp": datetime.now(UTC),
                "ResourceStatus": status,
                **({"ResourceStatusReason": reason} if reason else {}),
            }
        )


def _error(code: str, message: str) -> Exception:
    from tests.aws.stand_in import AwsError

    return AwsError(400, code, message)
