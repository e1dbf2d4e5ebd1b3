"""The flow that checks published results: a sample computed again here, from the original photos."""

from __future__ import annotations

import socket

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from engines import create_engine
from engines.core.comparison import RESULT_TOLERANCE
from engines.core.errors import FruitsError
from engines.core.run_record import read_record
from engines.core.storage import normalize_location
from engines.parity import Difference, compare_published
from flows import artifacts
from flows import parameters as form
from flows.logs import running

_ROWS_SHOWN = 20


@task(name="compare", cache_policy=NO_CACHE, persist_result=False, task_run_name="compare · {images} images")
def compare_task(output: str, images: int) -> list[Difference]:
    """Compute a sample of the published rows again on a local Dask engine, and compare."""
    engine = create_engine("dask")
    with running(engine), artifacts.progress_of(engine, "parity"):
        return compare_published(engine, output, read_record(output), images)


def _run_name() -> str:
    return f"parity of {flow_run.parameters['output'].rstrip('/').rsplit('/', 1)[-1]}"


@flow(name="parity-check", flow_run_name=_run_name, persist_result=False)
def parity_check(output: form.Output, images: form.Images = 500) -> State[int]:
    """Compute a sample of published rows again on this machine, and fail if they differ.

    On the kind of CPU the features were computed on, rows must be the same bit for bit; on another one they must agree
    within a hundredth of a component's standard deviation.

    Args:
        output: Folder or URL of published results.
        images: Size of the sample; chosen by hash, so the same each time.

    Returns:
        The number of images compared.
    """
    try:
        output = normalize_location(output)
        differences = compare_task(output, images)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error), data=error)
    message = _report(output, differences)
    if all(difference.within_tolerance for difference in differences):
        return Completed(message=message, data=len(differences))
    return Failed(message=message)


def _report(output: str, differences: list[Difference]) -> str:
    """Publish the artifacts; the outcome in one sentence."""
    total = len(differences)
    identical = sum(difference.identical for difference in differences)
    different = [difference for difference in differences if not difference.within_tolerance]
    worst = max(difference.deviations for difference in differences)
    if different:
        outcome = f"{len(different):,} of {total:,} images differ from what is published in {output}"
    elif identical == total:
        outcome = f"all {total:,} images are the same bit for bit"
    else:
        outcome = f"all {total:,} images agree; {identical:,} of them bit for bit"
    lines = [
        f"# {outcome[0].upper()}{outcome[1:]}",
        "",
        "| | |",
        "|:--|--:|",
        f"| compared | {total:,} |",
        f"| the same bit for bit | {identical:,} |",
        f"| different | {len(different):,} |",
        f"| largest difference | {worst:.2g} standard deviations of its component |",
        f"| allowed | {RESULT_TOLERANCE:g} |",
        f"| computed again on | {socket.gethostname()} |",
    ]
    create_markdown_artifact("\n".join(lines), key="parity", description=f"A sample of {output}, computed again")
    shown = sorted(differences, key=lambda difference: -difference.deviations)[:_ROWS_SHOWN]
    rows = [
        {
            "path": difference.path,
            "difference": f"{difference.deviations:.2g}",
            "verdict": "same" if difference.within_tolerance else difference.unreadable or "different",
        }
        for difference in shown
    ]
    create_table_artifact(rows, key="parity-rows", description=f"The {len(rows)} rows that differ most")
    return outcome
