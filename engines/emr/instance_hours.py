"""Hours of instances and steps, from the timelines that EMR on EC2 gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from engines.emr.protocol import Billed


def hours(timeline: Mapping[str, Any], start: str = "CreationDateTime", until: datetime | None = None) -> float:
    """From `start` to the end, or else to `until` (now by default)."""
    if start not in timeline:
        return 0.0
    end = timeline.get("EndDateTime") or until or datetime.now(UTC)
    return float((end - timeline[start]).total_seconds()) / 3600


def billed_instances(instances: Iterable[Mapping[str, Any]], until: datetime | None = None) -> Billed:
    """The hours of these instances, as ListInstances gives them; those of spot instances have their own price.

    One that runs counts as running until `until`, now by default.
    """
    total = Billed()
    for instance in instances:
        lived = hours(instance["Status"]["Timeline"], until=until)
        spot = instance.get("Market") == "SPOT"
        total += Billed(spot_instance_hours=lived) if spot else Billed(instance_hours=lived)
    return total
