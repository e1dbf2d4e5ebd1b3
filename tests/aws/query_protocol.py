"""The older protocol of AWS: requests as forms, answers as XML. CloudFormation speaks it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.model import Shape

Json = dict[str, Any]


def parse_form(body: bytes) -> tuple[str, dict[str, str]]:
    """The operation and its flat members of a request."""
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    form.pop("Version")
    return form.pop("Action"), form


def members(shape: Shape, form: dict[str, str], prefix: str = "") -> Any:
    """`Parameters.member.1.ParameterKey=...` and so on as the structure that `shape` describes."""
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            place = f"{prefix}.{name}" if prefix else name
            if any(key == place or key.startswith(f"{place}.") for key in form):
                found[name] = members(member, form, place)
        return found
    if shape.type_name == "list":
        numbers = {
            int(match[1]) for key in form if (match := re.match(rf"{re.escape(prefix)}\.member\.(\d+)(\.|$)", key))
        }
        return [members(shape.member, form, f"{prefix}.member.{number}") for number in sorted(numbers)]
    if shape.type_name == "boolean":
        return form[prefix] == "true"
    return int(form[prefix]) if shape.type_name in ("integer", "long") else form[prefix]


def answer_xml(operation: str, shape: Shape | None, output: Json) -> bytes:
    """An answer as AWS writes it."""
    content = "" if shape is None else f"<{operation}Result>{_xml(shape, output)}</{operation}Result>"
    metadata = "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
    return f"<{operation}Response>{content}{metadata}</{operation}Response>".encode()


def error_xml(code: str, message: str) -> bytes:
    """An error as AWS writes it."""
    error = f"<Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>".encode()


def _xml(shape: Any, value: Any) -> str:
    if shape.type_name == "structure":
        return "".join(f"<{name}>{_xml(shape.members[name], member)}</{name}>" for name, member in value.items())
    if shape.type_name == "list":
        return "".join(f"<member>{_xml(shape.member, member)}</member>" for member in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(value.isoformat() if isinstance(value, datetime) else str(value))
