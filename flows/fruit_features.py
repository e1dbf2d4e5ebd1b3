"""The flow: the chain with a task of Prefect per stage."""

from __future__ import annotations

from dataclasses import replace

from prefect import tags
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines.core.errors import FruitsError
from flows.chain import run
from flows.checks import check_settings, complete
from flows.credentials import use_credentials
from flows.engine_log import RunLog, told_to
from flows.options.run import RunSettings
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.emr_block import emr_overrides
from flows.runtime.hooks import stop_jobs
from flows.runtime.tasks import ServedFlow, TaskCall
from flows.signatures import as_form
from flows.views.page import publish_summary


def _run_name() -> str:
    parameters = flow_run.parameters
    source = str(parameters.get("source", "")).rstrip("/").rsplit("/", 1)[-1]
    return f"{source} on {parameters.get('engine', 'dask')}"


@as_form(RunSettings)
def _fruit_features(settings: RunSettings) -> State[str]:
    """Turn the images of a folder or S3 prefix into features of few dimensions.

    A second run does only what is missing. One run at a time writes into an output; another one is refused.

    Returns the location of run.json, which names the results, as the data of a state whose message says what was done,
    or why not. Called from Python, the flow returns the location, or raises the FruitsError.
    """
    try:
        settings = complete(replace(settings, emr=emr_overrides(settings.emr)))
        use_credentials(settings)
        settings = check_settings(settings)
        call = TaskCall()
        with tags(settings.engine), told_to(RunLog(get_run_logger())):
            outcome = run(
                settings,
                call=call,
                run_id=str(flow_run.id),
                holder=f"flow run {flow_run.name}",
                on_progress=call.listener,
                show=publish_summary,
                guard=stopped_when_cancelled(),
            )
        return Completed(message=outcome.message, data=outcome.location)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        # Returned, not raised: Prefect puts words of its own in front of what is raised.
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))


fruit_features = ServedFlow(
    _fruit_features,
    name="fruit-features",
    flow_run_name=_run_name,
    persist_result=False,
    on_cancellation=[stop_jobs],
    on_crashed=[stop_jobs],
)
