"""What needs no workers is done in the process of the run: listing, and stages that find all their work done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from engines.map_engine import MapEngine


class WorkersNeededError(Exception):
    """The stage has work for workers."""


class DoneHere(MapEngine):
    """The driver's half of the stages. Raises WorkersNeededError as soon as a stage has work for workers."""

    name: ClassVar[str] = "here"

    def map(
        self,
        function: Callable[..., Any],  # noqa: ARG002 - see MapEngine
        items: Sequence[Any],  # noqa: ARG002
        value: Any,  # noqa: ARG002
        after_death: Callable[[Any], Any] | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[int, Any]]:
        """See MapEngine: there are no workers."""
        raise WorkersNeededError

    def broadcast(self, value: Any) -> Any:
        """See MapEngine."""
        return value

    @property
    def parallelism(self) -> int:
        """See MapEngine."""
        return 1

    def close(self) -> None:
        """See Engine."""
