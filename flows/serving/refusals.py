"""Answers that are errors: one body for all of them, and never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engines.core.errors import FruitsError
from engines.core.rejects import RejectedImageError
from flows.serving.answers import Fault, Refusal

_LOGGER = logging.getLogger("fruits.serve")

_REASONS = {
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "not_an_image",
    503: "busy",
}


def refusal(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer of this status, with a body of `Refusal`."""
    body = Refusal(error=Fault(reason=reason, message=message))
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


def answer_errors(app: FastAPI) -> None:
    """Have every error of `app` answered by a refusal. What is a fault of ours goes to the log, whole."""

    async def rejected(_: Request, error: RejectedImageError) -> JSONResponse:
        return refusal(422, error.reason, f"this is not a photo that can be decoded: {error.detail}")

    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return refusal(422, "invalid", "; ".join(faults))

    async def unanswered(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, _REASONS.get(error.status_code, "invalid"), str(error.detail), error.headers)

    async def unavailable(_: Request, error: FruitsError) -> JSONResponse:
        _LOGGER.error("%s", error)
        return refusal(503, "unavailable", "the server cannot read what it needs; its log says why")

    async def broken(_: Request, __: Exception) -> JSONResponse:
        return refusal(500, "fault", "the server made a mistake; its log says which")

    for kind, handler in (
        (RejectedImageError, rejected),
        (RequestValidationError, invalid),
        (HTTPException, unanswered),
        (FruitsError, unavailable),
        (Exception, broken),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]
