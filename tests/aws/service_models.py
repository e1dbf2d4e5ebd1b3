"""AWS's own description of a service: requests are parsed and checked against it, answers are written by it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.validate import ParamValidator

from tests.aws.query_protocol import answer_xml, error_xml, members, parse_form

Json = dict[str, Any]


class BadRequestError(Exception):
    """A request that AWS's model does not allow."""


class Service:
    """One service, by botocore's model of it; `rest-json`, `json` and `query` protocols."""

    def __init__(self, name: str) -> None:
        self.model = ServiceModel(Loader().load_service_model(name, "service-2"), name)
        self.rest = self.model.metadata["protocol"] == "rest-json"
        self.query = self.model.metadata["protocol"] == "query"
        self._routes = list(self._read_routes()) if self.rest else []
        self.signing_name = self.model.metadata.get("signingName", self.model.metadata["endpointPrefix"])

    def parse(self, method: str, url: str, headers: Any, body: bytes) -> tuple[str, Json]:
        """The operation and its parameters. Raises BadRequestError for what the model does not know or allow."""
        if self.query:
            name, form = parse_form(body)
            parameters = members(self.model.operation_model(name).input_shape, form)
        else:
            name, parameters = self._parse_rest(method, url, body) if self.rest else self._parse_json(headers, body)
        self._check(self.model.operation_model(name).input_shape, parameters, f"{name} request")
        return name, parameters

    def serialize(self, operation: str, output: Json) -> bytes:
        """The answer's body. Fails for an answer that AWS could not give."""
        shape = self.model.operation_model(operation).output_shape
        if shape is not None:
            self._check(shape, output, f"{operation} answer")
        if self.query:
            return answer_xml(operation, shape, output)
        return b"{}" if shape is None else json.dumps(_plain(shape, output)).encode()

    def error(self, code: str, message: str) -> bytes:
        """The body of an error."""
        return error_xml(code, message) if self.query else json.dumps({"__type": code, "message": message}).encode()

    def _parse_json(self, headers: Any, body: bytes) -> tuple[str, Json]:
        prefix, _, name = headers.get("X-Amz-Target", "").partition(".")
        if prefix != self.model.metadata["targetPrefix"] or name not in self.model.operation_names:
            raise BadRequestError(f"unknown target {headers.get('X-Amz-Target')!r}")
        return name, json.loads(body or b"{}")

    def _parse_rest(self, method: str, url: str, body: bytes) -> tuple[str, Json]:
        parts = urlsplit(url)
        for name, operation, pattern in self._routes:
            match = pattern.fullmatch(parts.path)
            if match and operation.http["method"] == method:
                return name, self._members(operation.input_shape, match.groupdict(), parse_qs(parts.query), body)
        raise BadRequestError(f"no operation has {method} {parts.path}")

    def _read_routes(self) -> Iterator[tuple[str, OperationModel, re.Pattern[str]]]:
        for name in self.model.operation_names:
            operation = self.model.operation_model(name)
            template = operation.http["requestUri"].split("?", maxsplit=1)[0]
            yield name, operation, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template)))

    def _members(self, shape: Any, path: dict[str, str], query: dict[str, list[str]], body: bytes) -> Json:
        plain = json.loads(body) if body else {}
        found: Json = {}
        for name, member in shape.members.items():
            place, key = member.serialization.get("location"), member.serialization.get("name", name)
            if place == "uri":
                found[name] = unquote(path[key])
            elif place == "querystring" and key in query:
                values = query.pop(key)
                found[name] = values if member.type_name == "list" else _number(member, values[0])
            elif place is None and key in plain:
                found[name] = plain.pop(key)
        if plain or query:
            raise BadRequestError(f"unknown members: {sorted([*plain, *query])}")
        return found

    def _check(self, shape: Any, value: Json, what: str) -> None:
        report = ParamValidator().validate(value, shape)
        problems = [report.generate_report()] if report.has_errors() else []
        problems += list(_breaches(shape, value, what))
        if problems:
            raise BadRequestError(f"{what}: {'; '.join(problems)}")


service = functools.cache(Service)
"""The service of that name; reading a model takes a while, and it never changes."""


def _breaches(shape: Shape, value: Any, place: str) -> Any:
    """What botocore's validator leaves to the service: patterns, lengths, enumerations."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _breaches(shape.members[name], member, f"{place}.{name}")
    elif shape.type_name == "list":
        for member in value:
            yield from _breaches(shape.member, member, f"{place}[]")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from _breaches(shape.key, key, f"{place} key")
            yield from _breaches(shape.value, member, f"{place}.{key}")
    elif shape.type_name == "string" and isinstance(value, str):
        pattern, most = shape.metadata.get("pattern"), shape.metadata.get("max")
        if shape.enum and value not in shape.enum:
            yield f"{place} cannot be {value!r}"
        if most is not None and len(value) > most:
            yield f"{place} is longer than {most}"
        if pattern and not re.fullmatch(_python_pattern(pattern), value, re.DOTALL):
            yield f"{place} = {value!r} does not match {pattern}"
    elif shape.type_name in ("integer", "long"):
        most = shape.metadata.get("max")
        if most is not None and value > most:
            yield f"{place} is more than {most}"


def _python_pattern(pattern: str) -> str:
    # Java writes code points beyond the basic plane as pairs of surrogates.
    return pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff")


def _number(shape: Shape, text: str) -> Any:
    return int(text) if shape.type_name in ("integer", "long") else text


def _plain(shape: Any, value: Any) -> Any:
    if shape.type_name == "structure":
        return {
            shape.members[name].serialization.get("name", name): _plain(shape.members[name], member)
            for name, member in value.items()
        }
    if shape.type_name == "list":
        return [_plain(shape.member, member) for member in value]
    if shape.type_name == "map":
        return {key: _plain(shape.value, member) for key, member in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, datetime):
        return value.timestamp()
    return value
