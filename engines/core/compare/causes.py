"""Why the bits of two outputs differ, by what is known of both: photos, weights, libraries, arithmetic, rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.core.compare.rows import RowsComparison
from engines.core.networks.model import Canary
from engines.core.output import RunRecord
from engines.core.reduce.pca import Pca


@dataclass(slots=True)
class Origin:
    """Where an output's bits come from. `deviating`: images by the digest of the canary they were featurized with,
    where that is not the model's own (see `engines.core.networks.canary`).
    """

    record: RunRecord
    pca: Pca
    canary: Canary | None
    deviating: dict[str, int] = field(default_factory=dict)


def causes(a: Origin, b: Origin, features: RowsComparison) -> list[str]:
    """What explains that two outputs are not identical: sentences, the first cause first. Never empty."""
    found = []
    if not features.same_images:
        found.append("Photos: not the same images or labels, so means, deviations and components differ as well.")
    if features.differing_values:
        found += _other_features(a, b)
    if fitted_to(a.record) != fitted_to(b.record):
        found.append(f"PCA: {fitted_to(a.record)} in A, {fitted_to(b.record)} in B.")
    if a.pca.rules != b.pca.rules:
        found.append(f"Rules of the PCA: {_rules(a.pca)} in A, {_rules(b.pca)} in B.")
    unsettled = sorted({*a.pca.unsettled, *b.pca.unsettled})
    if unsettled:
        found.append(
            f"Rounding: of component {unsettled[0]} it could not be decided, see `unsettled` in the PCA's file."
        )
    if not features.differing_values and features.same_images and not found:
        others = _differences(a.record.versions, b.record.versions)
        by_versions = f" The versions of other packages differ: {others}." if others else ""
        found.append(f"Nothing that is known: equal features must give equal results.{by_versions}")
    return found or [
        "Nothing that is known: photos, weights, versions and arithmetic are the same. A file was changed, "
        "or a machine is broken."
    ]


def _other_features(a: Origin, b: Origin) -> list[str]:
    """What explains that features of equal photos differ."""
    found = []
    model_a, model_b = a.record.model.recipe, b.record.model.recipe
    for name, what in (("weights_sha256", "Weights"), ("preprocessing", "Preprocessing"), ("runtime", "Runtime")):
        if model_a.get(name) != model_b.get(name):
            found.append(f"{what}: {str(model_a.get(name))[:40]} in A, {str(model_b.get(name))[:40]} in B.")
    libraries = _differences(model_a.get("libraries", {}), model_b.get("libraries", {}))
    if libraries:
        found.append(f"Versions of what computes the features: {libraries}.")
    found += _other_arithmetic(a, b)
    return found


def _other_arithmetic(a: Origin, b: Origin) -> list[str]:
    found = []
    if a.canary and b.canary and a.canary.digest != b.canary.digest:
        found.append(
            f"Arithmetic: canary {a.canary.digest[:12]} of {a.canary.cpu} in A,"
            f" {b.canary.digest[:12]} of {b.canary.cpu} in B."
        )
    elif not (a.canary and b.canary):
        without = " and ".join(name for name, origin in (("A", a), ("B", b)) if not origin.canary)
        found.append(f"Arithmetic: not known of {without}, whose features are older than the canary.")
    for name, origin in (("A", a), ("B", b)):
        if origin.deviating:
            images = sum(origin.deviating.values())
            found.append(f"Arithmetic: mixed in {name}, {images:,} images are of --arithmetic tolerant.")
    return found


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> str:
    names = sorted(name for name in {*a, *b} if a.get(name) != b.get(name))
    return ", ".join(f"{name} {a.get(name, 'none')} in A, {b.get(name, 'none')} in B" for name in names)


def fitted_to(record: RunRecord) -> str:
    """What the PCA of a run was fitted to, in words."""
    if record.frozen_pca:
        return f"frozen, {record.frozen_pca.pca}"
    split = record.parameters.get("fit_split")
    return f"fitted to the split {split}" if split else "fitted to its own photos"


def _rules(pca: Pca) -> str:
    return f"`{pca.rules}`" if pca.rules else "those of before version 3"
