"""Costs: prices from a dated file, the estimate before a run, and the cost of what AWS billed afterwards."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from engines.core.errors import InputError
from engines.emr.protocol import Billed
from engines.emr.settings import EmrSettings
from engines.emr.sizing import Work, minutes_for_job, size_for_job


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars an hour, by name: `vcpu_hour`, `memory_gb_hour` and `storage_gb_hour`, or instance types.

    `date`: when the price file was written.
    """

    date: str
    hour: dict[str, float]

    def cost(self, billed: Billed, instance_type: str = "") -> float | None:
        """What `billed` costs, or None if a price that it needs is not known."""
        needed = {
            "vcpu_hour": billed.vcpu_hours,
            "memory_gb_hour": billed.memory_gb_hours,
            "storage_gb_hour": billed.storage_gb_hours,
            instance_type: billed.instance_hours,
        }
        if any(hours and name not in self.hour for name, hours in needed.items()):
            return None
        return sum(hours * self.hour[name] for name, hours in needed.items() if hours)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is likely to be billed. `cost` is in US dollars, None without prices; `minutes` is the time it takes."""

    billed: Billed
    minutes: float
    cost: float | None

    def __str__(self) -> str:
        hours = (
            f"{self.billed.instance_hours:.2f} instance hours"
            if self.billed.instance_hours
            else f"{self.billed.vcpu_hours:.2f} vCPU hours, {self.billed.memory_gb_hours:.2f} GB hours"
        )
        money = "no price known" if self.cost is None else f"{self.cost:.2f} US dollars"
        return f"{hours}, about {self.minutes:.0f} minutes, {money}"


def load_prices(settings: EmrSettings, engine: str) -> Prices:
    """Prices of the settings' region for `emr-serverless` or `emr-cluster`; `settings.prices` override single ones."""
    table = _price_file()
    kind = engine.removeprefix("emr-")
    hour = table.get(settings.region, {}).get(kind, {})
    if kind == "serverless":
        hour = hour.get(settings.architecture, {})
    return Prices(str(table["date"]), {**hour, **(settings.prices or {})})


def estimate_job(settings: EmrSettings, engine: str, work: Mapping[str, Work]) -> Estimate:
    """What a job is likely to cost that does all of `work`, by stage. All its workers are billed to its end.

    On a cluster every instance is billed from the request to the end, including the minutes until it is ready.
    """
    prices = load_prices(settings, engine)
    size = size_for_job(settings, work)
    minutes = minutes_for_job(settings, work, size)
    if engine == "emr-serverless":
        billed = Billed(size.vcpus * minutes / 60, size.memory_gb * minutes / 60)
    else:
        minutes += CLUSTER_START_MINUTES
        billed = Billed(instance_hours=(1 + size.executors) * minutes / 60)
    return Estimate(billed, minutes, prices.cost(billed, settings.instance_type))


CLUSTER_START_MINUTES = 8.0
"""Assumed time on EMR on EC2 from the request to the first step. Not measured on AWS."""


def check_max_cost(settings: EmrSettings, estimate: Estimate, spent: float | None) -> None:
    """Raise InputError if what was spent plus the estimate exceeds `max_cost`, or if a price is not known."""
    if settings.max_cost is None:
        return
    if estimate.cost is None or spent is None:
        raise InputError(
            f"max_cost cannot be kept: no EMR price is known for {settings.region}",
            "Give prices in the [emr] table (vcpu_hour, memory_gb_hour, storage_gb_hour, or the instance type).",
        )
    if spent + estimate.cost > settings.max_cost:
        already = f", after {spent:.2f} spent" if spent else ""
        raise InputError(
            f"the estimate is {estimate}{already}: more than the {settings.max_cost:.2f} US dollars of max_cost",
            "Raise --max-cost, or start with fewer images: --per-class. Nothing more was started.",
        )


def cost_record(settings: EmrSettings, engine: str, billed: Billed | None) -> dict[str, str | float]:
    """Billed hours and their cost, with the date of the prices, as run.json has them."""
    if billed is None:
        return {"billed": "not reported by AWS yet: see `fruits emr cost`"}
    prices = load_prices(settings, engine)
    hours = {name: value for name, value in _hours(billed).items() if value}
    cost = prices.cost(billed, settings.instance_type)
    money: dict[str, str | float] = {"cost_usd": "no price known"} if cost is None else {"cost_usd": round(cost, 4)}
    return {**hours, **money, "prices_of": prices.date}


def _hours(billed: Billed) -> dict[str, float]:
    return {
        "vcpu_hours": round(billed.vcpu_hours, 4),
        "memory_gb_hours": round(billed.memory_gb_hours, 4),
        "storage_gb_hours": round(billed.storage_gb_hours, 4),
        "instance_hours": round(billed.instance_hours, 4),
    }


@functools.cache
def _price_file() -> dict[str, Any]:
    return tomllib.loads((files("engines.emr") / "prices.toml").read_text())
