"""Apply what Prefect shall do by itself: `python -m deployments.automations --notify TYPE/NAME`.

- A run whose process died with its machine sends no heartbeat: after three missing ones it becomes Crashed, and what it
  still has on EMR is stopped.
- A run that failed or crashed, a check that found other results among them, is told to the notification block
  `--notify`; so is a run that no worker has begun in time.
- After each completed run of `production`, a sample of its output is computed again, and its quality is checked.

Run it again at any time, after `prefect deploy` at the latest: what is there is updated, what a person paused stays
paused. `prefect automation ls` shows them. Self-hosted servers have none of this by themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from engines.core.errors import FruitsError, InputError
from flows.runtime.server import check_server

NO_HEARTBEAT = "fruits: a run without heartbeat has crashed"
FAILED = "fruits: a run failed"
LATE = "fruits: a run has not begun in time"
CHECK = "fruits: check what production published"
QUALITY = "fruits: say how good what production published is"

_PERIODS = 3
"""How many heartbeats may be missing: one can be lost on the way."""

_ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}
# Every deployment of prefect.yaml has this tag, and so have its runs and their events.
_OURS = ResourceSpecification({"prefect.resource.id": "prefect.tag.fruits", "prefect.resource.role": "tag"})
_RUN = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def apply(
    notify: Annotated[
        str | None,
        typer.Option(
            help="Block that failed and late runs are told to, such as slack-webhook/ops.", metavar="TYPE/NAME"
        ),
    ] = None,
    late_minutes: Annotated[float, typer.Option(help="How late a run may begin.", min=0.2)] = 15,
    heartbeat_seconds: Annotated[
        int | None,
        typer.Option(
            help="Seconds between the heartbeats of runs; PREFECT_FLOWS_HEARTBEAT_FREQUENCY, or Prefect's default.",
            min=30,
        ),
    ] = None,
) -> None:
    """Create or update the automations of this project's deployments."""
    check_server()
    seconds = heartbeat_seconds or get_current_settings().flows.heartbeat_frequency
    if seconds is None:
        raise InputError("runs send no heartbeats here", "Give --heartbeat-seconds, as the workers have it.")
    with get_client(sync_client=True) as client:
        block = _block(client, notify) if notify else None
        for wanted in automations(client.read_deployments(), block, seconds, late_minutes):
            _put(client, wanted)
    if block is None:
        _print(f"left out, since no --notify names a block for messages: {FAILED}; {LATE}")


def automations(
    deployments: list[DeploymentResponse], block: UUID | None, heartbeat_seconds: float, late_minutes: float
) -> Iterator[AutomationCore]:
    """The automations for these deployments; `block` is the id of the notification block, None for no messages.

    Raises InputError when the deployment that stops jobs of dead runs is not among them.
    """
    yield AutomationCore(
        name=NO_HEARTBEAT,
        description="Three heartbeats are missing: the process died with its machine, or cannot reach the server.",
        trigger=EventTrigger(
            match=_RUN,
            match_related=_OURS,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *_ENDED},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_PERIODS * heartbeat_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no heartbeat for {_PERIODS * heartbeat_seconds:g} s",
                force=False,
            ),
            RunDeployment(
                source="selected",
                deployment_id=_clean_up(deployments).id,
                parameters={"run": _template("{{ flow_run.id }}")},
                job_variables=None,
            ),
        ],
    )
    if block is not None:
        yield AutomationCore(
            name=FAILED,
            description="A run failed, crashed, or found other results than published.",
            trigger=EventTrigger(
                match=_RUN, match_related=_OURS, expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
            ),
            actions=[_message(block, "{{ flow_run.state.name }}", "{{ flow_run.state.message }}")],
        )
        yield AutomationCore(
            name=LATE,
            description="A run is due, and no worker has begun it.",
            trigger=EventTrigger(
                match=_RUN,
                match_related=_OURS,
                after={"prefect.flow-run.Late"},
                expect={f"prefect.flow-run.{state}" for state in ("Pending", "Running", "AwaitingConcurrencySlot")}
                | _ENDED,
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(minutes=late_minutes),
            ),
            actions=[_message(block, "late", f"Not begun {late_minutes:g} minutes after it was due: is a worker up?")],
        )
    production = _find(deployments, "flows/fruit_features.py:", "production")
    if production is None:
        return
    for name, description, entrypoint in (
        (CHECK, "A sample of what was published is computed again.", "flows/recheck.py:"),
        (QUALITY, "Issues and accuracy of what was published.", "flows/check.py:"),
    ):
        found = _find(deployments, entrypoint)
        if found is not None:
            yield _behind(production, name, description, found)


def _behind(
    production: DeploymentResponse, name: str, description: str, deployment: DeploymentResponse
) -> AutomationCore:
    """A run of `deployment` over the output of each completed run of `production`."""
    return AutomationCore(
        name=name,
        description=description,
        trigger=EventTrigger(
            match=_RUN,
            match_related=ResourceSpecification({"prefect.resource.id": f"prefect.deployment.{production.id}"}),
            expect={"prefect.flow-run.Completed"},
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment.id,
                parameters={"output": _template("{{ flow_run.parameters.output }}")},
                job_variables=None,
            )
        ],
    )


def _message(block: UUID, subject: str, body: str) -> SendNotification:
    return SendNotification(
        block_document_id=block,
        subject=f"fruits: {{{{ flow_run.name }}}} is {subject}",
        body=f"{body}\n\n{{{{ flow_run | ui_url }}}}",
    )


def _template(text: str) -> dict[str, str]:
    """Prefect fills it in when the automation fires."""
    return {"__prefect_kind": "jinja", "template": text}


def _clean_up(deployments: list[DeploymentResponse]) -> DeploymentResponse:
    found = _find(deployments, "flows/clean_up.py:")
    if found is None:
        raise InputError(
            "the deployment that stops jobs of dead runs is missing", "Deploy first: prefect --no-prompt deploy --all"
        )
    return found


def _find(deployments: list[DeploymentResponse], entrypoint: str, name: str | None = None) -> DeploymentResponse | None:
    return next(
        (
            one
            for one in deployments
            if (one.entrypoint or "").startswith(entrypoint) and (name is None or one.name == name)
        ),
        None,
    )


def _block(client: SyncPrefectClient, slug: str) -> UUID:
    """The id of the block TYPE/NAME. Raises InputError when there is none, or it cannot send messages."""
    kind, _, name = slug.partition("/")
    try:
        found = client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise InputError(
            f"there is no block {slug} on this Prefect server",
            "Make one on the page (Blocks), of a type that notifies: Slack, mail, a webhook and others.",
        ) from error
    capabilities = found.block_schema.capabilities if found.block_schema else []
    if "notify" not in capabilities:
        raise InputError(f"the block {slug} sends no messages", "Name a notification block, such as slack-webhook/ops.")
    return UUID(str(found.id))


def _put(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Create it, or update that of the same name when it differs; whether it is paused is the person's."""
    known = client.read_automations_by_name(wanted.name)
    if not known:
        client.create_automation(wanted)
        _print(f"created    {wanted.name}")
        return
    wanted.enabled = known[0].enabled
    if _essence(known[0]) == _essence(wanted):
        _print(f"unchanged  {wanted.name}")
        return
    # All fields of the trigger, since those at their defaults may be what differs; whose it is cannot be updated.
    client.update_automation(known[0].id, AutomationCore(**wanted.model_dump(exclude={"owner_resource"})))
    _print(f"updated    {wanted.name}")


def _essence(automation: AutomationCore) -> dict[str, Any]:
    """What a person would call the same automation: without the ids that the server gives its triggers."""
    return automation.model_dump(
        include={"name", "description", "enabled", "trigger", "actions"}, exclude={"trigger": {"id"}}
    )


def _print(text: str) -> None:
    typer.echo(text)


def main() -> None:
    """Run; a FruitsError is told without a traceback, with exit code 2."""
    try:
        typer.run(apply)
    except FruitsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
