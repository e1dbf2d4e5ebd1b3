"""Costs: prices from a dated file, the estimate before a run, and the cost of what AWS billed afterwards."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from engines.core.errors import InputError, StageError
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
        """What `billed` costs, or None if a price that it needs is not known.

        Spare capacity whose price is not known counts as if it were not spare, which costs more; see `is_bound`.
        """
        needed = [(names, hours) for names, hours in _priced(billed, instance_type) if hours]
        if any(not set(names) & set(self.hour) for names, _ in needed):
            return None
        return sum(hours * next(self.hour[name] for name in names if name in self.hour) for names, hours in needed)

    def is_bound(self, billed: Billed, instance_type: str = "") -> bool:
        """Whether `cost` is only the most that it can be."""
        return any(hours and names[0] not in self.hour for names, hours in _priced(billed, instance_type))


def _priced(billed: Billed, instance_type: str) -> list[tuple[tuple[str, ...], float]]:
    """The names of the prices that hours have, the best first."""
    return [
        (("vcpu_hour",), billed.vcpu_hours),
        (("memory_gb_hour",), billed.memory_gb_hours),
        (("storage_gb_hour",), billed.storage_gb_hours),
        ((instance_type,), billed.instance_hours),
        (("flex_vcpu_hour", "vcpu_hour"), billed.flex_vcpu_hours),
        (("flex_memory_gb_hour", "memory_gb_hour"), billed.flex_memory_gb_hours),
        ((f"spot {instance_type}", instance_type), billed.spot_instance_hours),
    ]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is likely to be billed. `cost` is in US dollars, None without prices; `minutes` is the time it takes.

    `bound`: no price of spare capacity is known, so it costs less than `cost`.
    """

    billed: Billed
    minutes: float
    cost: float | None
    bound: bool = False

    def __str__(self) -> str:
        hours = (
            f"{self.billed.instance_hours + self.billed.spot_instance_hours:.2f} instance hours"
            if self.billed.instance_hours
            else f"{self.billed.vcpu_hours + self.billed.flex_vcpu_hours:.2f} vCPU hours, "
            f"{self.billed.memory_gb_hours + self.billed.flex_memory_gb_hours:.2f} GB hours"
        )
        money = "no price known" if self.cost is None else f"{self.cost:.2f} US dollars"
        if self.bound and self.cost is not None:
            money = f"less than {money} (no price of spare capacity known)"
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
        driver = Billed(size.driver_cores, size.driver_memory_gb)
        vcpus, memory = size.executors * size.executor_cores, size.executors * size.executor_memory_gb
        executors = (
            Billed(flex_vcpu_hours=vcpus, flex_memory_gb_hours=memory) if settings.flex else Billed(vcpus, memory)
        )
        billed = (driver + executors).times(minutes / 60)
    else:
        minutes += CLUSTER_START_MINUTES
        spot = size.executors - 1 if settings.flex else 0
        billed = Billed(instance_hours=1 + size.executors - spot, spot_instance_hours=spot).times(minutes / 60)
    bound = prices.is_bound(billed, settings.instance_type)
    return Estimate(billed, minutes, prices.cost(billed, settings.instance_type), bound)


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


def check_used(settings: EmrSettings, soon: float | None) -> None:
    """Raise StageError if a run will have cost more than `max_cost` by the next look at its job: `soon` US dollars."""
    if settings.max_cost is None or soon is None or soon <= settings.max_cost:
        return
    raise StageError(
        f"the run would have cost {soon:.2f} US dollars by the next look at its job: more than the "
        f"{settings.max_cost:.2f} of max_cost",
        "Its job was cancelled; what it did is kept. Run again with a higher --max-cost, and it does the rest.",
    )


def cost_record(settings: EmrSettings, engine: str, billed: Billed | None) -> dict[str, str | float]:
    """Billed hours and their cost, with the date of the prices, as run.json has them."""
    if billed is None:
        return {"billed": "not reported by AWS yet: see `fruits emr cost`"}
    prices = load_prices(settings, engine)
    hours = {name: value for name, value in _hours(billed).items() if value}
    cost = prices.cost(billed, settings.instance_type)
    name = "cost_usd_at_most" if prices.is_bound(billed, settings.instance_type) else "cost_usd"
    money: dict[str, str | float] = {"cost_usd": "no price known"} if cost is None else {name: round(cost, 4)}
    return {**hours, **money, "prices_of": prices.date}


def closing_line(record: Mapping[str, Any]) -> str:
    """The estimate against the bill, from what `run.json` has of both; empty where it has neither."""
    estimated, billed = record.get("estimated_usd"), record.get("cost_usd", record.get("cost_usd_at_most"))
    parts = [f"estimated {_money(estimated)}"] if isinstance(estimated, int | float) else []
    if isinstance(billed, int | float):
        most = "at most " if "cost_usd_at_most" in record else ""
        parts.append(f"billed {most}{_money(billed)}")
    if not parts:
        return ""
    line = f"{', '.join(parts)} US dollars"
    return line if isinstance(billed, int | float) else f"{line}; the bill is not known yet"


def _money(dollars: float) -> str:
    return f"{dollars:.2f}" if dollars >= 0.005 or not dollars else "less than 0.01"


def _hours(billed: Billed) -> dict[str, float]:
    return {name: round(hours, 4) for name, hours in asdict(billed).items()}


@functools.cache
def _price_file() -> dict[str, Any]:
    return tomllib.loads((files("engines.emr") / "prices.toml").read_text())
