"""The flow that checks published results: a sample computed again here, from the original photos."""

from __future__ import annotations

import socket
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines import create_engine
from engines.core.compare.outputs import RESULT_TOLERANCE
from engines.core.errors import FruitsError
from engines.core.output import read_record
from engines.core.storage import is_folder, normalize_location
from engines.recheck import Difference, compare_published
from flows import parameters as form
from flows.credentials import emr_overrides, resolve_emr
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.logs import running
from flows.runtime.tasks import called, stage
from flows.views import page

_ROWS_SHOWN = 20


@stage("compare")
def compare_task(output: str, record: dict[str, Any], images: int) -> list[Difference]:
    """Compute a sample of the published rows again on a local Dask engine, and compare."""
    engine = create_engine("dask")
    with running(engine), page.progress_of(engine, "parity"):
        return compare_published(engine, output, record, images)


def _run_name() -> str:
    return f"parity of {flow_run.parameters['output'].rstrip('/').rsplit('/', 1)[-1]}"


@flow(name="parity-check", flow_run_name=_run_name, persist_result=False)
def parity_check(output: form.Output, images: form.Images = 500, emr: form.Emr = None) -> State[int]:
    """Compute a sample of published rows again on this machine, and fail if they differ.

    On the kind of CPU the features were computed on, rows must be the same bit for bit; on another one they must agree
    within a hundredth of a component's standard deviation.

    Args:
        output: Folder or URL of published results.
        images: Size of the sample; chosen by hash, so the same each time.
        emr: For results or photos on S3, the name of an EMR settings block, or settings: their region and credentials
            are used. For folders it is not looked at.

    Returns:
        The number of images compared.
    """
    try:
        output = normalize_location(output)
        _use_credentials(output, emr)
        record = read_record(output)
        _use_credentials(record["source"], emr)
        with stopped_when_cancelled():
            differences = called(compare_task, f"compare · {images:,} images")(output, record, images)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))
    message = _report(output, differences)
    if all(difference.within_tolerance for difference in differences):
        return Completed(message=message, data=len(differences))
    return Failed(message=message)


def _use_credentials(location: str, emr: str | dict[str, Any] | None) -> None:
    """Set this process to the region and the credentials that `emr` names, when `location` is not a folder."""
    if emr is not None and not is_folder(location):
        resolve_emr(emr_overrides(emr))


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
        "| images | |",
        "|:--|--:|",
        f"| compared | {total:,} |",
        f"| the same bit for bit | {identical:,} |",
        f"| different | {len(different):,} |",
        "",
        "| difference, in standard deviations of a component | |",
        "|:--|--:|",
        f"| largest | {worst:.2g} |",
        f"| allowed | {RESULT_TOLERANCE:g} |",
        "",
        f"**Computed again on** {socket.gethostname()}",
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
