"""The block `EmrSettings` of Prefect: where and how large jobs run on EMR, under a name that flows take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, get_type_hints

from prefect.blocks.core import Block
from pydantic import create_model

from engines.core.errors import InputError
from engines.emr.settings import EmrSettings


class _SettingsBlock(Block):
    """Where and how large jobs of fruit-features run on EMR. Never a secret: credentials have a block of their own."""

    _block_type_name: ClassVar[str | None] = "EMR settings"
    _block_type_slug: ClassVar[str | None] = "emr-settings"
    _description: ClassVar[str | None] = (
        "Where and how large jobs of fruit-features run on EMR; see engines/emr/settings.py for each field."
    )

    def overrides(self) -> dict[str, Any]:
        """What differs from the defaults, so that the environment and the config file still fill in the rest."""
        defaults = asdict(EmrSettings())
        values = self.model_dump(include=set(defaults))
        return {name: value for name, value in values.items() if value != defaults[name]}


def _block_class() -> type[_SettingsBlock]:
    """A block with the fields of the dataclass, which stays the one place that lists them."""
    kinds = get_type_hints(EmrSettings)
    members: dict[str, Any] = {field.name: (kinds[field.name], field.default) for field in fields(EmrSettings)}
    return create_model("EmrSettingsBlock", __base__=_SettingsBlock, __module__=__name__, **members)


EmrSettingsBlock = _block_class()


def load_overrides(name: str) -> dict[str, Any]:
    """The settings of the block `name`. Raises InputError when Prefect has none."""
    try:
        block = EmrSettingsBlock.load(name)
    except ValueError as error:
        raise InputError(
            f"there is no block emr-settings/{name} on this Prefect server",
            "Register it: python -m deployments.blocks --help; or give the settings themselves.",
        ) from error
    if not isinstance(block, _SettingsBlock):
        raise TypeError(f"expected a block, got {block!r}")
    return block.overrides()


def emr_overrides(given: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The `emr` parameter of a flow as settings: they are, or are in the EMR settings block of that name.

    Raises InputError for a block that does not exist.
    """
    if isinstance(given, str):
        return load_overrides(given)
    return None if given is None else dict(given)
