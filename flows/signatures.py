"""Functions of settings as Prefect and Typer want them: with a parameter, a form field or an option per setting."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from engines.core.errors import InputError

R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What a person is told of a parameter, and what it may be.

    `flags` replace the one made from the name; `argument`: given in the terminal by its place. `minimum` and `maximum`
    are included, `above` is not. `terminal` and `form` say where it is offered. `repeated`: a list, of which the
    terminal takes one value at a time.
    """

    help: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    argument: bool = False
    choices: tuple[str, ...] = ()
    examples: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    terminal: bool = True
    form: bool = True
    repeated: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """One setting as it is declared: `kind` is its type without the Option."""

    name: str
    kind: Any
    option: Option
    default: Any


def declared(settings: type) -> Iterator[Declared]:
    """The settings of a dataclass of `flows.options`, in order."""
    hints = get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        kind, option = get_args(hints[field.name])
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        yield Declared(field.name, kind, option, default)


def as_form(settings: type) -> Callable[[Callable[[Any], R]], Callable[..., R]]:
    """A function of `settings` as one that Prefect makes a form of: choices, bounds, examples, and help."""
    from pydantic import Field

    def parameter(each: Declared) -> tuple[Any, Any]:
        return Annotated[each.kind, Field(json_schema_extra=_schema(each))], each.default

    def wrap(function: Callable[[Any], R]) -> Callable[..., R]:
        wrapper = _spread(function, (settings,), parameter, lambda option: option.form)
        helps = [f"    {each.name}: {each.option.help}" for each in declared(settings) if each.option.form]
        # Where Prefect looks for the help of a field.
        wrapper.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n" + "\n".join(helps)
        return wrapper

    return wrap


def as_command(*settings: type) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """A function of `settings`, one argument each, as a command of Typer with an option for each of their fields."""
    import typer

    def parameter(each: Declared) -> tuple[Any, Any]:
        option = each.option
        kind = list[str] | None if option.repeated else each.kind
        choices = f" One of: {', '.join(option.choices)}." if option.choices else ""
        facts: dict[str, Any] = {"help": option.help + choices, "metavar": option.metavar}
        if kind is float and option.above is not None:
            facts["parser"] = functools.partial(_number, each.name)
        # What is empty by default has to be given in the terminal.
        default = inspect.Parameter.empty if each.default in ("", []) else each.default
        if option.argument:
            return Annotated[kind, typer.Argument(**facts)], default
        return Annotated[kind, typer.Option(*option.flags, **facts)], default

    return lambda function: _spread(function, settings, parameter, lambda option: option.terminal)


def _spread(
    function: Callable[..., R],
    settings: tuple[type, ...],
    parameter: Callable[[Declared], tuple[Any, Any]],
    offered: Callable[[Option], bool],
) -> Callable[..., R]:
    """`function(*settings)` as a function with a parameter per field that is `offered`."""
    names: dict[type, list[str]] = {}
    parameters = []
    for each in settings:
        fields = [field for field in declared(each) if offered(field.option)]
        names[each] = [field.name for field in fields]
        for field in fields:
            annotation, default = parameter(field)
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
                )
            )
    signature = inspect.Signature(parameters, return_annotation=inspect.signature(function).return_annotation)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> R:
        given = signature.bind(*args, **kwargs).arguments
        return function(
            *(kind(**{name: given[name] for name in fields if name in given}) for kind, fields in names.items())
        )

    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapper


def _schema(each: Declared) -> dict[str, Any]:
    option = each.option
    schema: dict[str, Any] = {
        "enum": list(option.choices),
        "examples": list(option.examples),
        "minimum": option.minimum,
        "maximum": option.maximum,
        "exclusiveMinimum": option.above,
    }
    if each.kind is str and not option.choices:
        schema["minLength"] = 1
    return {name: value for name, value in schema.items() if value not in (None, [])}


def _number(name: str, text: str) -> float:
    """The number written in `text`; whether it is in range is checked with the settings."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name} cannot be {text!r}", "Give a whole number, or a share such as 0.95.") from None
