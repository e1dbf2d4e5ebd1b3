"""The API does what its OpenAPI description says, for requests that nobody thought of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from flows.serving.app import ServeOptions, create_app

EXAMPLES = 10
PHASES = (hypothesis.Phase.explicit, hypothesis.Phase.generate)

OPERATIONS = {
    "GET /healthz",
    "GET /api/collection",
    "GET /api/map",
    "GET /api/photos/{row}",
    "POST /api/similar",
    "POST /api/transform",
}


@pytest.fixture(scope="module")
def operations(published: Path) -> Iterator[dict[str, Any]]:
    """By method and path, as the server describes them."""
    options = ServeOptions(str(published), rate=1_000_000)
    app = create_app(options.open(), options)
    found = (result.ok() for result in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations())
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_everything_is_described(operations: dict[str, Any]) -> None:
    assert operations.keys() == OPERATIONS


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_answer_is_one_that_is_described(operations: dict[str, Any], name: str, mode: GenerationMode) -> None:
    """Of requests that fit the description, and of others."""

    @hypothesis.settings(max_examples=EXAMPLES, phases=PHASES, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=operations[name].as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        # No description says which bytes are a photo, so made-up ones may be refused.
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if case.method == "POST" else [])

    try:
        answers()
    except hypothesis.errors.Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE, "there is no request that fits the description"
