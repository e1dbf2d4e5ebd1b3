"""The flow that turns new photos into numbers with a published model: for photos that come in by themselves."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from engines.core.errors import FruitsError, InputError
from engines.core.rejects import REASONS
from engines.core.storage import is_folder, normalize_location, open_storage
from flows.checks import check_counts
from flows.credentials import use_block
from flows.new_photos import Done, check_some_decoded, table_format, transform_into
from flows.options.use import TransformRunSettings
from flows.runtime.cancellation import stopped_when_cancelled
from flows.runtime.tasks import ServedFlow, TaskCall
from flows.signatures import as_form
from flows.views.page import link_to


def _run_name() -> str:
    return f"transform into {str(flow_run.parameters.get('file', '')).rsplit('/', 1)[-1]}"


@as_form(TransformRunSettings)
def _transform(settings: TransformRunSettings) -> State[str]:
    """Turn new photos into the numbers that a run would have given them, with the network and the PCA of OUTPUT.

    Writes a row per photo into a file; what is no photo is a row with its reason. Fails when every photo is rejected.

    Returns the location of the file as the data of a state whose message says what was done.
    """
    try:
        folder, name = _checked(settings)
        places = (folder, settings.model, *settings.photos)
        if not all(is_folder(normalize_location(place)) for place in places):
            use_block(settings.credentials)
        kind = table_format(settings)
        with stopped_when_cancelled():
            done: Done = TaskCall()(
                "transform",
                f"transform {', '.join(settings.photos)}",
                transform_into,
                settings,
                kind,
                lambda: _written_to(folder, name),
            )
        location = open_storage(folder).uri(name)
        _report(done, folder, name)
        check_some_decoded(done)
        message = f"{done.photos - done.rejected:,} photos in {location}"
        return Completed(message=f"{message}; {done.rejected:,} rejected" if done.rejected else message, data=location)
    except FruitsError as error:
        get_run_logger().error("%s", error)
        return Failed(message=str(error), data=error)
    except CancelledRun as stop:
        return Cancelled(message=str(stop))


transform = ServedFlow(_transform, name="transform", flow_run_name=_run_name, persist_result=False)


def _checked(settings: TransformRunSettings) -> tuple[str, str]:
    """The folder and the name of the file to write. Raises InputError for the first parameter that cannot work."""
    for parameter in ("photos", "model", "file"):
        if not getattr(settings, parameter):
            raise InputError(f"the parameter {parameter} is missing", "Name it: a folder, a file, or a URL.")
    check_counts(settings)
    folder, slash, name = settings.file.rpartition("/")
    if not name:
        raise InputError(f"{settings.file} is no file to write", "Name one, such as /data/photos.parquet.")
    return normalize_location(folder or slash or "."), name


@contextlib.contextmanager
def _written_to(folder: str, name: str) -> Iterator[IO[bytes]]:
    """A file that is put in place when it is whole."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        open_storage(folder).write(name, file.read())


def _report(done: Done, folder: str, name: str) -> None:
    """The artifacts: how many photos, why others were rejected, and a link."""
    rows: list[dict[str, str | int]] = [{"photos": "transformed", "count": done.photos - done.rejected, "why": ""}]
    rows += [
        {"photos": reason, "count": count, "why": REASONS.get(reason, "")}
        for reason, count in done.reasons.most_common()
    ]
    create_table_artifact(rows, key="transformed", description="Photos, and why some have no numbers")
    create_link_artifact(
        link_to(folder, name), key="table", link_text=name, description=f"A row per photo, in {folder}"
    )
