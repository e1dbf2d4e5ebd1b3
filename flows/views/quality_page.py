"""What Prefect's page shows of a check: the figures as markdown, tables of the worst classes and the issues, a link."""

from __future__ import annotations

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from engines.core.layout import REPORT, check_folder, issues_key
from engines.core.quality.figures import ISSUES, Quality
from engines.core.storage import open_storage
from flows.views.page import link_to
from flows.views.quality import share, space_rows, split_rows

_CLASSES_SHOWN = 20


def publish_quality(output: str, quality: Quality, *, message: str, former: Quality | None, unchanged: bool) -> None:
    """See flows.quality.Show: publish the artifacts `quality`, `worst-classes`, `issues` and `report`."""
    markdown = quality_markdown(output, quality, message=message, former=former, unchanged=unchanged)
    create_markdown_artifact(markdown, key="quality", description=f"How good {output} is")
    create_table_artifact(
        [
            {"class": each.label, "images": each.rows, "recall": share(each.recall), "precision": share(each.precision)}
            for each in quality.classes[:_CLASSES_SHOWN]
        ],
        key="worst-classes",
        description="The classes that are recognized least",
    )
    create_table_artifact(
        [
            {"issue": name.replace("_", " "), "images": quality.issues[name], "why": text}
            for name, text in ISSUES.items()
        ],
        key="issues",
        description=f"Rows of {open_storage(output).uri(issues_key(check_folder(quality.check)))}",
    )
    create_link_artifact(link_to(output, REPORT), key="report", link_text=REPORT, description=f"The report of {output}")


def quality_markdown(output: str, quality: Quality, *, message: str, former: Quality | None, unchanged: bool) -> str:
    """The figures, and the accuracy of the check before."""
    lines = [f"# {message[0].upper()}{message[1:]}", ""]
    if unchanged:
        lines += [f"These results were checked before: the figures are of {quality.facts.get('finished', 'then')}.", ""]
    lines += _change(quality, former)
    lines += [
        "| in | by neighbours | by the nearest | by a linear probe |",
        "|:--|--:|--:|--:|",
        *(f"| {' | '.join(row)} |" for row in space_rows(quality)),
        "",
    ]
    if quality.splits:
        lines += [
            f"| against {_cell(quality.training or '')} | images | leaked | by neighbours | by a probe | distance |",
            "|:--|--:|--:|--:|--:|--:|",
            *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in split_rows(quality)),
            "",
        ]
    lines.append(f"**Report** [{open_storage(output).uri(REPORT)}]({link_to(output, REPORT)})")
    return "\n".join(lines)


def _change(quality: Quality, former: Quality | None) -> list[str]:
    if former is None or former.accuracy is None or quality.accuracy is None:
        return []
    difference = quality.accuracy.vote - former.accuracy.vote
    when = former.facts.get("finished", "before")
    return [f"Accuracy {share(quality.accuracy.vote)}, {difference:+.2%} since the check of {when}.", ""]


def _cell(text: str) -> str:
    """A text from a folder's name, as a cell: nothing of it is markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+-!|~&" else letter for letter in text)
