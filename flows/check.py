"""The flow that checks published results: issues, accuracy, leakage; it fails when the accuracy has fallen too low."""

from __future__ import annotations

from dataclasses import replace

from prefect import tags
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines.core.errors import FruitsError
from engines.core.output import read_record
from engines.core.storage import is_folder
from flows.checks import check_quality_settings, complete
from flows.credentials import use_credentials
from flows.engine_log import RunLog, told_to
from flows.options.published import CheckSettings
from flows.quality import check as run_check
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.emr_block import emr_overrides
from flows.runtime.hooks import stop_jobs
from flows.runtime.tasks import ServedFlow, TaskCall
from flows.signatures import as_form
from flows.views.quality_page import publish_quality


def _run_name() -> str:
    return f"check of {str(flow_run.parameters.get('output', '')).rstrip('/').rsplit('/', 1)[-1]}"


@as_form(CheckSettings)
def _check(settings: CheckSettings) -> State[str]:
    """Say what is odd about published photos, and how well their numbers tell the classes.

    Writes checks/VERSION/ into the output, and its report anew. Fails when the accuracy is below min_accuracy, so that
    a check after each run says when quality falls.

    Returns the location of quality.json as the data of a state whose message says what was found.
    """
    try:
        settings = complete(replace(settings, emr=emr_overrides(settings.emr)))
        if _on_s3(settings):
            use_credentials(settings)
        settings = check_quality_settings(settings)
        if not is_folder(read_record(settings.output).source):
            use_credentials(settings)
        call = TaskCall()
        with tags(settings.engine), told_to(RunLog(get_run_logger())):
            done = run_check(
                settings,
                call=call,
                run_id=str(flow_run.id),
                holder=f"flow run {flow_run.name}",
                on_progress=call.listener,
                show=publish_quality,
                guard=stopped_when_cancelled(),
            )
        return Completed(message=done.message, data=done.location)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))


def _on_s3(settings: CheckSettings) -> bool:
    """Whether the output or the jobs are elsewhere: for folders no credentials need exist."""
    return settings.engine_settings is not None or not is_folder(settings.output)


check = ServedFlow(
    _check,
    name="check",
    flow_run_name=_run_name,
    persist_result=False,
    on_cancellation=[stop_jobs],
    on_crashed=[stop_jobs],
)
