"""The flow that checks published results: a sample computed again here, from the original photos."""

from __future__ import annotations

import socket
from collections.abc import Callable

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines import create_engine
from engines.base import Progress
from engines.core.compare.outputs import RESULT_TOLERANCE
from engines.core.errors import FruitsError, InputError
from engines.core.output import RunRecord, read_record
from engines.core.storage import is_folder, normalize_location
from engines.recheck import Difference, compare_published
from flows.checks import check_counts
from flows.credentials import use_block
from flows.engine_log import RunLog, running, told_to
from flows.options.published import RecheckSettings
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.tasks import ServedFlow, TaskCall
from flows.signatures import as_form

_ROWS_SHOWN = 20


def _run_name() -> str:
    return f"recheck of {str(flow_run.parameters.get('output', '')).rstrip('/').rsplit('/', 1)[-1]}"


@as_form(RecheckSettings)
def _recheck(settings: RecheckSettings) -> State[int]:
    """Compute a sample of published rows again on this machine, and fail if they differ.

    On the kind of CPU the features were computed on, rows must be the same bit for bit; on another one they must agree
    within a hundredth of a component's standard deviation.

    Returns the number of images compared, as the data of a state.
    """
    try:
        if not settings.output:
            raise InputError("the parameter output is missing", "Name a folder or URL of published results.")
        check_counts(settings)
        output = normalize_location(settings.output)
        _use_credentials(output, settings.credentials)
        record = read_record(output)
        _use_credentials(record.source, settings.credentials)
        call = TaskCall()
        with stopped_when_cancelled(), told_to(RunLog(get_run_logger())):
            label = f"recheck {settings.images:,} images"
            differences = call("recheck", label, _recheck_here, output, record, settings.images, call.listener)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))
    message = _report(output, differences)
    if all(difference.within_tolerance for difference in differences):
        return Completed(message=message, data=len(differences))
    return Failed(message=message)


recheck = ServedFlow(_recheck, name="recheck", flow_run_name=_run_name, persist_result=False)


def _use_credentials(location: str, block: str | None) -> None:
    """Set this process to the block when `location` is not a folder: for folders none need exist."""
    if not is_folder(location):
        use_block(block)


def _recheck_here(
    output: str, record: RunRecord, images: int, on_progress: Callable[[Progress], None]
) -> list[Difference]:
    """Compute a sample of the published rows again on a local Dask engine, and compare."""
    engine = create_engine("dask")
    engine.on_progress = on_progress
    with running(engine):
        return compare_published(engine, output, record, images)


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
    create_markdown_artifact("\n".join(lines), key="recheck", description=f"A sample of {output}, computed again")
    shown = sorted(differences, key=lambda difference: -difference.deviations)[:_ROWS_SHOWN]
    rows = [
        {
            "path": difference.path,
            "difference": f"{difference.deviations:.2g}",
            "verdict": "same" if difference.within_tolerance else difference.unreadable or "different",
        }
        for difference in shown
    ]
    create_table_artifact(rows, key="recheck-rows", description=f"The {len(rows)} rows that differ most")
    return outcome
