"""report.html: one page about the published results and their check, readable without a server or a network."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from engines.core.index.catalog import Catalog
from engines.core.index.rejected import first_rejects
from engines.core.layout import REPORT, check_folder, issues_key, layout_key, spectrum_key
from engines.core.output import RunRecord
from engines.core.proof.reading import read_json, read_table
from engines.core.proof.seal import blank_seal, seal
from engines.core.quality.figures import ISSUES, Quality
from engines.core.rejects import REASONS
from engines.core.storage import Storage, open_storage
from flows.views.overview import left_out_rows
from flows.views.quality import share, space_rows, split_rows
from flows.views.report_photos import Photos, as_data, photos_of_check, photos_of_run, pictures_of
from flows.views.summary import arithmetic_remarks, fitted_to

_REJECTS_SHOWN = 50
_ISSUES_SHOWN = 12
_CONFUSIONS_SHOWN = 12
_SCRIPTS = ("chart-4.5.1.umd.min.js", "report.js")

_OTHER = {
    "label": ("predicted_label", "its neighbours say {}"),
    "outlier": ("nearest", "the nearest is"),
    "near_duplicate": ("nearest", "almost the same as"),
    "exact_duplicate": ("nearest", "the same file as"),
    "class_imbalance": ("label", "of the small class {}"),
    "leakage": ("leakage_nearest", "in the training part too:"),
}
"""What is said beside a photo with an issue, and the column that it is said of: another photo, or a class for {}."""


def write_report(output: str, record: RunRecord, quality: Quality | None = None) -> None:
    """Write report.html for the run `record` describes, with its check where there is one.

    One file of at most 5 MB, whatever the number of photos: it shows a sample of them, and says so.
    """
    storage = open_storage(output)
    if quality is None:
        photos, issues = photos_of_run(storage, record.parts), []
    else:
        folder = check_folder(quality.check)
        photos = photos_of_check(read_table(storage, layout_key(folder)))
        issues = _issues(storage, issues_key(folder), quality, photos)
    pictures = pictures_of(output, record, photos)
    spectrum = read_table(storage, spectrum_key(record.pca))["cumulative_ratio"].to_pylist()
    scripts = [_static(name) for name in _SCRIPTS]
    template = Environment(
        loader=PackageLoader("flows.views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        record=record,
        model=record.to_json()["model"],
        parameters=_parameters(record),
        finished=_moment(record.finished),
        remarks=arithmetic_remarks(record),
        fitted_to=fitted_to(record),
        left_out=list(left_out_rows(record.left_out or {})),
        output=storage.url,
        reasons=REASONS,
        rejects=_rejects(storage, record),
        quality=quality,
        share=share,
        spaces=space_rows(quality) if quality else [],
        splits=split_rows(quality) if quality else [],
        confusions=quality.confusions[:_CONFUSIONS_SHOWN] if quality else [],
        issues=issues,
        issues_shown=_ISSUES_SHOWN,
        texts=ISSUES,
        photos=photos,
        pictures=pictures,
        data={
            **as_data(photos, pictures),
            "spectrum": [round(value, 6) for value in spectrum],
            "kept": record.components,
            "for95": record.components_for_95,
            "timings": [[name, seconds] for name, seconds in record.timings.items()],
            "spaces": _accuracies(quality),
        },
        style=Markup(_static("report.css")),  # noqa: S704 - files of ours
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        allowed=" ".join(_source(script) for script in scripts),
    )
    storage.write(REPORT, seal(f"{page}<!-- {blank_seal(REPORT)} -->\n".encode(), REPORT))


def _static(name: str) -> str:
    return (files("flows.views") / "static" / name).read_text()


def _source(script: str) -> str:
    """What a content security policy calls this script: no other one may run in the page, whatever a label says."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _parameters(record: RunRecord) -> dict[str, Any]:
    """What the run was asked for, without what the model says already."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in record.parameters.items()
        if value not in (None, [], "") and name not in ("source", "output", "network", *record.model.recipe)
    }


def _moment(finished: str) -> str:
    """The time as people write it, in the time zone that the record has."""
    try:
        return f"{datetime.fromisoformat(finished):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return finished


def _accuracies(quality: Quality | None) -> list[dict[str, Any]]:
    return [
        {
            "name": "all" if not space.components else str(space.components),
            "neighbours": space.neighbours.vote if space.neighbours else None,
            "probe": space.probe.accuracy if space.probe else None,
        }
        for space in (quality.spaces if quality else ())
    ]


def _issues(storage: Storage, key: str, quality: Quality, photos: Photos) -> list[dict[str, Any]]:
    """Per kind of issue that was found: its name, count, and the photos of lowest score with what is said of them."""
    table = read_table(storage, key)
    labels = dict(zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True))
    found = []
    for kind in ISSUES:
        if not quality.issues[kind]:
            continue
        flagged = table.filter(table[f"is_{kind}_issue"]).sort_by(
            [(f"{kind}_score", "ascending"), ("path", "ascending")]
        )
        column, text = _OTHER[kind]
        shown: list[dict[str, Any]] = []
        pairs: set[frozenset[str]] = set()
        for row in flagged.slice(0, 2 * _ISSUES_SHOWN).to_pylist():
            pair = frozenset((row["path"], row[column]))
            if pair in pairs or len(shown) == _ISSUES_SHOWN:
                continue  # the other half of two duplicates, or enough
            pairs.add(pair)
            other = None if "{}" in text else photos.number(row[column], labels[row[column]])
            shown.append(
                {
                    "photo": photos.number(row["path"], row["label"]),
                    "other": other,
                    "text": text.format(row[column] or "no class"),
                }
            )
        found.append({"kind": kind, "name": kind.replace("_", " "), "count": quality.issues[kind], "photos": shown})
    return found


def _rejects(storage: Storage, record: RunRecord) -> list[dict[str, str]]:
    """The first rejected images of this run."""
    if not record.counts.rejected:
        return []
    shards = Catalog.from_json(read_json(storage, record.catalog)).shards
    return first_rejects(storage.url, record.model.fingerprint, shards, _REJECTS_SHOWN)
