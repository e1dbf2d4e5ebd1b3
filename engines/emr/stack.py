"""The CloudFormation stack of deployments/emr/template.yaml: made, changed, described, removed.

These calls are those of an administrator; who runs `fruits` afterwards needs the stack's SubmitterPolicy alone.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engines.core.errors import FruitsError, InputError, StageError
from engines.emr.calls import Aws, AwsCallError, advice, refused
from engines.emr.rights import ADMINISTRATOR

SERVICE = "cloudformation"

OnEvent = Callable[[str], None]

_GONE = "DELETE_COMPLETE"
_CANNOT_BE_CHANGED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "CREATE_FAILED")
"""States of a stack that CloudFormation can only delete:
docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html"""

_REASONS = (
    (
        "CreateServiceLinkedRole",
        "The first application of an account makes the role AWSServiceRoleForAmazonEMRServerless. An administrator can "
        "make it once: aws iam create-service-linked-role --aws-service-name ops.emr-serverless.amazonaws.com",
    ),
    ("is not authorized to perform", ADMINISTRATOR),
    ("ServiceQuotaExceeded", "Ask for more in Service Quotas, or remove what is no longer needed."),
    ("LimitExceeded", "Ask for more in Service Quotas, or remove what is no longer needed."),
    (
        "already exists",
        "Choose another name: --stack NAME. Or remove what has this one, if it is a leftover.",
    ),
    (
        "must be in stopped",
        "Wait until the application has stopped, then run `fruits emr destroy` again.",
    ),
)
"""What AWS writes about a stack -> what to do about it."""


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack as CloudFormation describes it. `outputs` by their keys, `parameters` by theirs."""

    status: str
    reason: str
    parameters: dict[str, str]
    outputs: dict[str, str]

    @property
    def cannot_be_changed(self) -> bool:
        """Whether it could not be made before, and is to be removed first."""
        return self.status in _CANNOT_BE_CHANGED

    @property
    def settings(self) -> dict[str, Any]:
        """The [emr] table of the output `Settings`."""
        table: dict[str, Any] = tomllib.loads(self.outputs["Settings"])["emr"]
        return table

    @property
    def bucket(self) -> str:
        """The stack's own bucket."""
        return str(self.settings["artifacts"]).removeprefix("s3://").partition("/")[0]


def template_text() -> str:
    """The template: beside this module in an installed wheel, in `deployments` in a clone."""
    packaged = files("engines.emr") / "template.yaml"
    if packaged.is_file():
        return packaged.read_text()
    return (Path(__file__).resolve().parents[2] / "deployments" / "emr" / "template.yaml").read_text()


def what_to_do(reason: str, otherwise: str) -> str:
    """A hint for a refusal as AWS words it."""
    return advice(reason) or next((hint for part, hint in _REASONS if part in reason), otherwise)


def _parameters(given: Mapping[str, str], present: StackState | None) -> list[dict[str, Any]]:
    """The parameters of a request: those that are given, and of a stack that is there the others as they are."""
    template = template_text()
    kept = [key for key in (present.parameters if present else {}) if key not in given and f"\n  {key}:\n" in template]
    return [
        *({"ParameterKey": key, "ParameterValue": value} for key, value in given.items()),
        *({"ParameterKey": key, "UsePreviousValue": True} for key in kept),
    ]


class Stack:
    """One stack by its name. Every method raises FruitsError only."""

    def __init__(self, aws: Aws, name: str, poll_seconds: float = 5.0) -> None:
        self.name = name
        self._aws = aws
        self._poll_seconds = poll_seconds

    def describe(self, identity: str | None = None) -> StackState | None:
        """The stack now; None where there is none."""
        try:
            answer = self._aws.call(SERVICE, "describe_stacks", StackName=identity or self.name)
        except AwsCallError as error:
            if "does not exist" in error.detail:
                return None
            raise self._refused(error, f"the stack {self.name} cannot be looked up") from error
        (stack,) = answer["Stacks"]
        return StackState(
            stack["StackStatus"],
            stack.get("StackStatusReason", ""),
            {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", [])},
            {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])},
        )

    def deploy(self, parameters: Mapping[str, str], on_event: OnEvent) -> StackState:
        """Make the stack, or change it to these parameters and this template; returns it when that is done.

        Parameters that are not given keep the values they have. A stack that could not be made before, of which
        CloudFormation has kept the name alone, is removed first.
        """
        present = self.describe()
        if present is not None and present.cannot_be_changed:
            on_event(f"the stack {self.name} is {present.status}: it is removed first")
            self.delete(on_event)
            present = None
        before = self._event_ids()
        operation = "create_stack" if present is None else "update_stack"
        try:
            answer = self._aws.call(
                SERVICE,
                operation,
                StackName=self.name,
                # Repeated after a lost connection, the request is the same one.
                ClientRequestToken=str(uuid.uuid4()),
                TemplateBody=template_text(),
                Capabilities=["CAPABILITY_IAM"],
                Parameters=_parameters(parameters, present),
                Tags=[{"Key": "fruit-features", "Value": self.name}],
            )
        except AwsCallError as error:
            if present is not None and "No updates are to be performed" in error.detail:
                return present
            raise self._refused(error, f"the stack {self.name} cannot be made") from error
        self._wait(answer["StackId"], before, on_event)
        state = self.describe()
        if state is None or state.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise self._failed(answer["StackId"], before, "made", state)
        return state

    def delete(self, on_event: OnEvent) -> None:
        """Remove the stack and everything in it but its bucket, which it retains."""
        before = self._event_ids()
        try:
            identity = self._aws.call(SERVICE, "describe_stacks", StackName=self.name)["Stacks"][0]["StackId"]
            self._aws.call(SERVICE, "delete_stack", StackName=self.name, ClientRequestToken=str(uuid.uuid4()))
        except AwsCallError as error:
            if "does not exist" in error.detail:
                return
            raise self._refused(error, f"the stack {self.name} cannot be removed") from error
        self._wait(identity, before, on_event)
        state = self.describe(identity)
        if state is not None and state.status != _GONE:
            raise self._failed(identity, before, "removed", state)

    def resources(self) -> list[tuple[str, str]]:
        """Type and id of each resource that is there."""
        try:
            found = list(self._aws.items(SERVICE, "list_stack_resources", StackName=self.name))
        except AwsCallError as error:
            raise self._refused(error, f"the resources of {self.name} cannot be listed") from error
        return [
            (one["ResourceType"], one.get("PhysicalResourceId", "")) for one in found if one["ResourceStatus"] != _GONE
        ]

    def _wait(self, identity: str, before: frozenset[str], on_event: OnEvent) -> None:
        """Until nothing is in progress. Says each resource that is made or removed, and each that could not be.

        `before`: the events of former operations.
        """
        said = set(before)
        while True:
            state = self.describe(identity)
            for event in reversed(self._events(identity)):
                if event["EventId"] not in said and not event["ResourceStatus"].endswith("IN_PROGRESS"):
                    on_event(f"{event['ResourceStatus']:<16} {event['LogicalResourceId']}")
                said.add(event["EventId"])
            if state is None or not state.status.endswith("IN_PROGRESS"):
                return
            self._aws.pause(self._poll_seconds)

    def _event_ids(self) -> frozenset[str]:
        return frozenset(event["EventId"] for event in self._events(self.name))

    def _events(self, identity: str) -> list[dict[str, Any]]:
        """Of the last operation and before, the newest first."""
        try:
            events: list[dict[str, Any]] = self._aws.call(SERVICE, "describe_stack_events", StackName=identity)[
                "StackEvents"
            ]
        except AwsCallError:
            return []  # they are only said; `describe` decides
        return events

    def _failed(self, identity: str, before: frozenset[str], what: str, state: StackState | None) -> FruitsError:
        """The first resource that could not be made or removed, with its reason, as an error."""
        broken = [
            event
            for event in reversed(self._events(identity))
            if event["ResourceStatus"].endswith("_FAILED")
            and event["EventId"] not in before
            and "cancelled" not in event.get("ResourceStatusReason", "")
        ]
        if broken:
            first = broken[0]
            reason = f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'no reason given')}"
        else:
            reason = "it is gone" if state is None else f"{state.status} {state.reason}".strip()
        hint = what_to_do(reason, f"Look at the events of the stack {self.name} in the CloudFormation console.")
        return StageError(f"the stack {self.name} could not be {what}: {reason}", hint)

    def _refused(self, error: AwsCallError, doing: str) -> FruitsError:
        if error.code in ("ValidationError", "AlreadyExistsException", "InsufficientCapabilitiesException"):
            hint = what_to_do(error.detail, "Check the parameters: they are those of deployments/emr/template.yaml.")
            return InputError(f"{doing}: {error.detail}", hint)
        return refused(error, doing, what_to_do(error.detail, "Check your permissions in CloudFormation."))
