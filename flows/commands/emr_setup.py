"""`fruits emr init`: from an AWS account to a first run on EMR; `fruits emr destroy`: back again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.assignments import read_assignments
from flows.options.emr import EmrRemoval, EmrSetup
from flows.signatures import as_command

if TYPE_CHECKING:
    from engines.emr.settings import EmrSettings
    from engines.emr.stack import StackState

PROJECT = Path(__file__).resolve().parents[2]
WRITTEN_BY = "# Written by `fruits emr init`; another run of it may change this file."

_TRIAL_PHOTOS, _TRIAL_CLASSES, _TRIAL_COMPONENTS = 100, 10, 16
_TRIAL_COST = 1.0
"""US dollars at most; the estimate is some cents."""


@as_command(EmrSetup)
def init(setup: EmrSetup) -> None:
    """Make what runs on EMR need: check the account, deploy the stack, upload the archive, try it with 100 photos.

    Asks before anything is made. Nothing of the stack costs anything while no job runs. Run again, it brings stack,
    settings and archive up to date. `fruits emr destroy` removes everything.
    """
    from engines.emr.calls import Aws
    from engines.emr.cost_allocation import allocate_by_job
    from engines.emr.rights import check_rights
    from engines.emr.settings import load_settings
    from engines.emr.setup import check_account, check_source
    from engines.emr.stack import Stack

    settings = _settings(setup.config, setup.region)
    _check_config(setup.config)
    setup = _with_source(setup)
    parameters = _parameters(setup)
    aws = Aws(settings)
    for line in check_account(settings, aws):
        _say(line)
    if setup.source:
        _say(f"images: {check_source(aws, setup.source, settings.region)}")
    stack = Stack(aws, setup.stack, settings.poll_seconds)
    present = stack.describe()
    wanted = {**(present.parameters if present else {}), **parameters}
    if present is None or present.cannot_be_changed:
        _say(check_rights(aws, parameters, setup.stack, settings.region))
    architecture = {"ARM64": "arm64"}.get(wanted.get("Architecture", ""), "x86_64")
    archive = Path(setup.archive) if setup.archive else _archive(architecture)
    _say(f"archive {archive.name}: {archive.stat().st_size / 1e6:.0f} MB")
    _confirm(
        f"\nThis {'updates' if present else 'makes'} the stack {setup.stack} in {settings.region}: a bucket, an "
        "application of EMR Serverless, a role for\nits jobs, a policy for who submits them. It costs nothing while no "
        "job runs; the archive in the bucket costs less than\na cent a month.",
        yes=setup.yes,
    )
    made = stack.deploy(parameters, _say)
    Path(setup.config).write_text(f"{WRITTEN_BY}\n{made.outputs['Settings'].strip()}\n")
    _say(f"settings: {setup.config}")
    _push(setup.config, archive)
    _say(allocate_by_job(aws, load_settings(config=setup.config).application_id))
    if setup.trial:
        _trial(made, setup.config)
    _say(
        f"\nYour photos: {made.outputs['Photos']}. Run them with\n"
        f"  fruits run {made.outputs['Photos']} {made.outputs['Output']}/all --engine emr-serverless --max-cost 5\n"
        f"Who is no administrator needs the policy {made.outputs['SubmitterPolicy']}.\n"
        "Remove everything: fruits emr destroy"
    )


@as_command(EmrRemoval)
def destroy(removal: EmrRemoval) -> None:
    """Remove what `fruits emr init` made. Shows first what that is, and asks.

    Cancels jobs, stops the application, deletes the bucket with everything in it, then the stack.
    """
    from rich.filesize import decimal

    from engines.core.errors import InputError
    from engines.emr.calls import Aws
    from engines.emr.control import open_runner
    from engines.emr.settings import settings_from
    from engines.emr.setup import bucket_content, remove_bucket, stop_application
    from engines.emr.stack import Stack

    settings = _settings(removal.config, removal.region)
    aws = Aws(settings)
    stack = Stack(aws, removal.stack, settings.poll_seconds)
    state = stack.describe()
    if state is not None and "Settings" in state.outputs:
        patience = {"poll_seconds": settings.poll_seconds, "patience_seconds": settings.patience_seconds}
        settings = settings_from({**state.settings, **patience})
    elif state is None and not settings.artifacts:
        raise InputError(
            f"there is no stack {removal.stack} in {settings.region}, and no [emr] table names a bucket",
            "Check --stack, --region and --config.",
        )
    bucket = settings.artifacts.removeprefix("s3://").partition("/")[0]
    content = bucket_content(aws, bucket) if bucket else None
    if state is not None:
        _say(f"the stack {removal.stack} in {settings.region}, {state.status}:")
        for kind, identity in stack.resources():
            _say(f"  {kind:<36} {identity}")
    if content is not None:
        kept = "kept" if removal.keep_bucket else "deleted with everything in it"
        _say(f"the bucket {bucket}: {content.objects:,} objects, {decimal(content.bytes)}, {kept}")
    if state is None and content is None:
        raise InputError(
            f"there is no stack {removal.stack} in {settings.region}, and no bucket {bucket}: nothing is left",
            "Check --stack, --region and --config.",
        )
    _confirm("\nAll of it is removed.", yes=removal.yes)
    if state is not None and settings.application_id:
        stop_application(settings, aws, open_runner("emr-serverless", settings), _say)
    if state is not None and settings.service_role:
        _stop_clusters(settings)
    if content is not None and not removal.keep_bucket:
        remove_bucket(aws, bucket, lambda gone: _say(f"{gone:,} of {content.objects:,} objects deleted"))
        _say(f"the bucket {bucket} is deleted")
    if state is not None:
        stack.delete(_say)
        _say(f"the stack {removal.stack} is removed")
    config = Path(removal.config)
    if not removal.keep_bucket and config.is_file() and config.read_text().startswith(WRITTEN_BY):
        config.unlink()
        _say(f"{config} is removed")


def _with_source(setup: EmrSetup) -> EmrSetup:
    """With where the images are, which a person is asked for once."""
    if setup.source or setup.yes or Path(setup.config).exists() or not sys.stdin.isatty():
        return setup
    text = "Images on S3 (s3://BUCKET/PREFIX; nothing: they will be put into the new bucket)"
    return replace(setup, source=typer.prompt(text, default="", show_default=False) or None)


def _parameters(setup: EmrSetup) -> dict[str, str]:
    """The stack's parameters. Raises InputError for a source that is not on S3, and for text without `=`."""
    from engines.core.errors import InputError

    found = read_assignments("--parameter", setup.parameters, "MaximumVcpus=16")
    if setup.source:
        bucket, _, prefix = setup.source.removeprefix("s3://").partition("/")
        if not setup.source.startswith("s3://") or not bucket:
            raise InputError(f"the source {setup.source} is not on S3", "Give s3://BUCKET/PREFIX, or leave it out.")
        found |= {"SourceBucket": bucket, "SourcePrefix": f"{prefix.rstrip('/')}/" if prefix else ""}
    return found


def _settings(config: str, region: str | None) -> EmrSettings:
    """The settings as far as they are known, for the region that is meant. Asks for it where nothing names one."""
    from engines.core.errors import InputError
    from engines.emr.calls import region_of_this_machine
    from engines.emr.settings import load_settings

    known = config if Path(config).is_file() else None
    named = region or os.environ.get("FRUITS_EMR_REGION") or (load_settings(config=known).region if known else None)
    named = named or region_of_this_machine()
    if named is None:
        if not sys.stdin.isatty():
            raise InputError("no AWS region is named", "Give --region, such as --region us-east-1.")
        named = typer.prompt("AWS region", default="us-east-1")
    return load_settings({"region": named}, config=known)


def _check_config(config: str) -> None:
    """Raise InputError for a file that is not ours to write, before anything is made."""
    from engines.core.errors import InputError

    path = Path(config)
    if path.exists() and not path.read_text().startswith(WRITTEN_BY):
        raise InputError(
            f"{config} was not written by `fruits emr init`, and is not overwritten",
            "Name another file (--config FILE), or move this one away.",
        )


def _archive(architecture: str) -> Path:
    """The archive of this code in dist/emr, else one that is built now."""
    from engines.core.errors import InputError, StageError
    from engines.emr.archive import Manifest, code_digest

    folder = PROJECT / "dist" / "emr"
    for path in folder.glob("*.json"):
        manifest = Manifest.load(path.read_text())
        if (manifest.code, manifest.architecture) == (code_digest(), architecture):
            return path.with_name(f"{manifest.name}.tar.gz")
    if not (PROJECT / "deployments" / "package.py").is_file():
        raise InputError(
            "the archive that jobs run in is built from a clone of the project, and this is an installed wheel",
            "Build it in a clone (`make emr-package`), and name it: --archive FILE.",
        )
    _say(f"building the archive for {architecture}, which takes a minute")
    command = [sys.executable, "-m", "deployments.package", "--architecture", architecture]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError("the archive could not be built", done.stderr.strip()[-2000:])
    return Path(done.stdout.split()[0])


def _push(config: str, archive: Path) -> None:
    from engines.core.errors import FruitsError
    from engines.emr.archive import Artifacts
    from engines.emr.calls import Aws
    from engines.emr.settings import load_settings

    settings = load_settings(config=config)
    try:
        uploaded = Artifacts(settings, Aws(settings)).push(archive)
    except FruitsError as error:
        raise type(error)(error.message, f"{error.hint} The stack is there; run `fruits emr init` again.") from error
    for url in uploaded:
        _say(f"uploaded {url}")


def _trial(stack: StackState, config: str) -> None:
    """Made-up photos through the whole chain. They lie below the output, which jobs may read with any source."""
    from engines.core.sample_photos import class_name, encode_photo
    from engines.core.storage import open_storage
    from flows.commands.demo import weights_or_random
    from flows.commands.run import run_in_terminal
    from flows.options.run import RunSettings

    place = f"{stack.outputs['Output']}/first-run"
    _say(f"\na first run: {_TRIAL_PHOTOS} made-up photos in {place}/photos")
    photos = open_storage(f"{place}/photos")
    for number in range(_TRIAL_PHOTOS):
        kind, view = number % _TRIAL_CLASSES, number // _TRIAL_CLASSES
        photos.write(f"{class_name(kind)}/{view:05d}.jpg", encode_photo(0, number, kind, view))
    settings = RunSettings(
        source=f"{place}/photos",
        output=f"{place}/features",
        engine="emr-serverless",
        components=_TRIAL_COMPONENTS,
        weights=weights_or_random(),
        emr={"max_cost": _TRIAL_COST},
    )
    run_in_terminal(settings, config=config)


def _stop_clusters(settings: EmrSettings) -> None:
    """Terminate the clusters that runs have made."""
    from engines.emr.control import open_runner, stop_run

    for run in dict.fromkeys(job.name.run for job in open_runner("emr-cluster", settings).find()):
        for stopped in stop_run("emr-cluster", settings, run):
            _say(f"stopped {stopped}")


def _confirm(text: str, *, yes: bool) -> None:
    """Say what will happen; go on when a person wants it. Raises InputError where there is nobody to ask."""
    from engines.core.errors import InputError

    _say(text)
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody can be asked here, and nothing was done", "Give --yes to go on without asking.")
    typer.confirm("Go on?", abort=True)


def _say(text: str) -> None:
    from flows.views.console import console

    console(soft_wrap=True).print(text)
