"""Merges settings of several sources, and reads text as the type of its field, by pydantic-settings."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import ValidationError, ValidationInfo, create_model, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from engines.core.errors import InputError


def merge_settings(
    kind: type, prefix: str, overrides: Mapping[str, Any], environ: Mapping[str, str], table: Mapping[str, Any]
) -> dict[str, Any]:
    """Every field of the dataclass `kind`: from `overrides`, else `environ` (`prefix` and the name in capitals), else
    `table`, else its default.

    Text becomes the type of its field; empty text becomes None in a field whose default is None. Mappings are merged
    key by key, and are JSON in the environment. Raises InputError for unknown names and for values of the wrong type.
    """

    model = _model(kind)

    class Sources(model):  # type: ignore[misc, valid-type]  # made at run time
        model_config = SettingsConfigDict(env_prefix=prefix)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            **_: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                _Environment(settings_cls, environ),
                InitSettingsSource(settings_cls, init_kwargs=dict(table)),
            )

    try:
        merged: dict[str, Any] = Sources(**overrides).model_dump()
    except ValidationError as error:
        raise _explained(error, [field.name for field in fields(kind)]) from error
    except SettingsError as error:
        raise InputError(f"an EMR setting of the environment is wrong: {error}", "Write it as JSON.") from error
    return merged


class _Environment(EnvSettingsSource):
    """The variables of `environ`, which need not be those of this process."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in environ.items()}


class _Base(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[info.field_name].annotation if info.field_name is not None else None
        if isinstance(value, bool) and wanted is not bool:  # which pydantic would take for 0 or 1
            raise PydanticCustomError("no_bool", "This setting is not true or false")
        may_be_none = info.field_name is not None and cls.model_fields[info.field_name].default is None
        return None if may_be_none and value == "" else value


@functools.cache
def _model(kind: type) -> type[_Base]:
    """A model with the fields of the dataclass, which stays the one place that lists them."""
    types = get_type_hints(kind)
    members: dict[str, Any] = {
        field.name: (types[field.name], ... if field.default is MISSING else field.default) for field in fields(kind)
    }
    return create_model(f"{kind.__name__}Sources", __base__=_Base, **members)


def _explained(error: ValidationError, known: list[str]) -> InputError:
    errors = error.errors(include_url=False)
    unknown = sorted(str(one["loc"][0]) for one in errors if one["type"] == "extra_forbidden")
    if unknown:
        return InputError(f"unknown EMR setting: {', '.join(unknown)}", f"Known are: {', '.join(known)}.")
    first = errors[0]
    name = ".".join(str(part) for part in first["loc"])
    return InputError(f"the EMR setting {name} cannot be {first['input']!r}", f"{first['msg']}.")
