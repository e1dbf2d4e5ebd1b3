"""What Prefect calls when a flow was cancelled or crashed, maybe in another process than the flow's."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from engines import ENGINES
from engines.core.errors import FruitsError
from flows.checks import complete
from flows.credentials import use_credentials
from flows.options.run import RunSettings
from flows.runtime.emr_block import emr_overrides


def stop_jobs(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's form
    """Stop what the run still has on EMR. Finds it on AWS by the run's id; stopping twice makes one call."""
    engine = str(flow_run.parameters.get("engine", ""))
    if engine not in ENGINES or not ENGINES[engine].remote:
        return
    from engines.emr.control import stop_run
    from engines.emr.settings import settings_from

    logger = flow_run_logger(flow_run, flow)
    try:
        overrides = emr_overrides(flow_run.parameters.get("emr"))
        settings = complete(
            RunSettings(engine=engine, emr=overrides, credentials=flow_run.parameters.get("credentials"))
        )
        use_credentials(settings)
        stopped = stop_run(engine, settings_from(settings.engine_settings or {}), str(flow_run.id))
    except FruitsError as error:
        # Prefect logs that a hook failed, but not why in words.
        logger.warning("the jobs of this run could not be stopped: %s", error)
        raise
    logger.info("stopped on EMR: %s", ", ".join(stopped) or "nothing was running")
