"""The template as CloudFormation reads it: parameters checked, conditions and functions carried out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from deployments.package import ROOT

TEMPLATE = ROOT / "deployments" / "emr" / "template.yaml"
_NOTHING = object()


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


def read_template(text: str) -> dict[str, Any]:
    """A template with its functions as mappings of one key."""
    template: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    return template


class TemplateError(Exception):
    """What CloudFormation calls a ValidationError."""


@dataclass
class Stack:
    """A template with parameters, resolved for one account and region."""

    name: str
    template: dict[str, Any]
    given: dict[str, str]
    region: str = "us-east-1"
    account: str = "123456789012"
    parameters: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        if unknown := set(self.given) - set(self.template["Parameters"]):
            raise TemplateError(f"Parameters: [{', '.join(sorted(unknown))}] do not exist in the template")
        self.parameters = {}
        for name, declared in self.template["Parameters"].items():
            value = self.given.get(name, str(declared.get("Default", "")))
            if not re.fullmatch(declared.get("AllowedPattern", ".*"), value):
                raise TemplateError(f"Parameter {name} failed to satisfy constraint: AllowedPattern")
            if "AllowedValues" in declared and value not in declared["AllowedValues"]:
                raise TemplateError(f"Parameter {name} must be one of {declared['AllowedValues']}")
            self.parameters[name] = value

    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that exist with these parameters, by their logical names."""
        return {
            name: {**resource, "Properties": self.resolve(resource.get("Properties", {}))}
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }

    def policies(self) -> dict[str, dict[str, Any]]:
        """The documents of the managed policies."""
        return {
            name: resource["Properties"]["PolicyDocument"]
            for name, resource in self.resources().items()
            if resource["Type"] == "AWS::IAM::ManagedPolicy"
        }

    def outputs(self) -> dict[str, str]:
        """The outputs that exist with these parameters."""
        return {
            name: self.resolve(output["Value"])
            for name, output in self.template["Outputs"].items()
            if "Condition" not in output or self._condition(output["Condition"])
        }

    def physical(self, name: str) -> str:
        """What `Ref` gives for a resource."""
        kind = self.template["Resources"][name]["Type"]
        return {
            "AWS::S3::Bucket": f"{self.name}-bucket-1a2b3c4d5e6f",
            "AWS::EMRServerless::Application": "00emr",
            "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{self.account}:policy/{self.name}-{name}-1A2B",
            "AWS::EC2::SecurityGroup": f"sg-{sum(name.encode()):08x}",
        }.get(kind, f"{self.name}-{name}-1A2B")

    def arn(self, name: str) -> str:
        """What `GetAtt NAME.Arn` gives."""
        physical = self.physical(name)
        return {
            "AWS::S3::Bucket": f"arn:aws:s3:::{physical}",
            "AWS::IAM::Role": f"arn:aws:iam::{self.account}:role/{physical}",
            "AWS::EMRServerless::Application": (
                f"arn:aws:emr-serverless:{self.region}:{self.account}:/applications/{physical}"
            ),
            "AWS::KMS::Key": f"arn:aws:kms:{self.region}:{self.account}:key/{physical}",
        }[self.template["Resources"][name]["Type"]]

    def resolve(self, value: Any) -> Any:
        """A value of the template with its functions carried out."""
        if isinstance(value, list):
            resolved = [self.resolve(item) for item in value]
            return [item for item in resolved if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if function := getattr(self, f"_{name.lower()}", None):
                return function(argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not _NOTHING}

    def _ref(self, name: str) -> Any:
        pseudo = {"AWS::Region": self.region, "AWS::AccountId": self.account, "AWS::Partition": "aws"}
        if name == "AWS::NoValue":
            return _NOTHING
        return pseudo.get(name) or (self.parameters[name] if name in self.parameters else self.physical(name))

    def _getatt(self, path: str) -> str:
        name, _, attribute = path.partition(".")
        return self.arn(name) if attribute == "Arn" else self.physical(name)

    def _sub(self, argument: Any) -> str:
        text, names = (argument[0], argument[1]) if isinstance(argument, list) else (argument, {})

        def replaced(match: re.Match[str]) -> str:
            name = match[1]
            if name in names:
                return str(self.resolve(names[name]))
            return self._getatt(name) if "." in name else str(self._ref(name))

        return re.sub(r"\$\{([\w.:]+)\}", replaced, text)

    def _split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.resolve(text)).split(separator)

    def _if(self, argument: Any) -> Any:
        condition, positive, negative = argument
        return self.resolve(positive if self._condition(condition) else negative)

    def _condition(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._condition(self.template["Conditions"][condition])
        ((name, argument),) = condition.items()
        if name == "Condition":
            return self._condition(argument)
        if name == "Not":
            return not self._condition(argument[0])
        if name == "And":
            return all(self._condition(one) for one in argument)
        assert name == "Equals", name
        first, second = argument
        return bool(self.resolve(first) == second)
