"""The flow that stops what a dead run still has on EMR.

Prefect calls a flow's hooks in the run's process or in its worker. When both died with their machine, nobody does: then
an automation (`python -m deployments.automations`) starts this flow on whatever worker there is.
"""

from __future__ import annotations

from uuid import UUID

from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed

from engines.core.errors import FruitsError
from flows.fruit_features import fruit_features
from flows.runtime.hooks import stop_jobs


@flow(name="clean-up", persist_result=False)
def clean_up(run: str) -> State[None]:
    """Stop the jobs and clusters of a run that has ended; a run that goes on is left alone.

    Args:
        run: The id of the flow run.
    """
    try:
        identifier = UUID(run)
    except ValueError:
        return Failed(message=f"{run!r} is not the id of a flow run")
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(identifier)
        except ObjectNotFound:
            return Failed(message=f"there is no flow run {run}")
    if found.state is None or not found.state.is_final():
        return Completed(message=f"{found.name} has not ended: nothing was stopped")
    try:
        stop_jobs(fruit_features, found, found.state)
    except FruitsError as error:
        return Failed(message=str(error))
    return Completed(message=f"what {found.name} had on EMR is stopped")
