"""The routes, as a FastAPI application: `create_app` for any ASGI server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from crossflare.service.facts import info_of, languages_served
from crossflare.service.guard import ClientGoneError, Guard, Seen, answer
from crossflare.service.keys import Keys
from crossflare.service.messages import (
    Answer,
    ErrorResponse,
    Health,
    Info,
    LanguagesResponse,
    PredictRequest,
    PredictResponse,
    expectation,
)
from crossflare.service.problems import ProblemError, unavailable, unprocessable
from crossflare.service.service import Service

GET_ERRORS = (401, 405, 500)
PREDICT_ERRORS = (400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504)
NUMBERS: dict[str, Any] = {
    "description": "Prometheus's text format",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
ROUTES = {
    "/predict": "POST",
    "/languages": "GET",
    "/health": "GET",
    "/ready": "GET",
    "/info": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
}


def create_app(service: Service, keys: Keys | None = None) -> FastAPI:
    """Return the application that serves `service`; None: no key is asked for."""
    keys = keys or Keys(())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        service.batches.start()
        yield
        service.close()

    locked: dict[str, Any] = {"dependencies": [Depends(HTTPBearer(auto_error=False))]} if keys else {}
    app = FastAPI(
        title="crossflare",
        description="Labels and answers for texts in many languages, by FLARE adapters.",
        version=version("crossflare"),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.post("/predict", response_model=PredictResponse, responses=_errors(*PREDICT_ERRORS), **locked)
    async def predict(asked: PredictRequest, request: Request) -> Response:
        """Predict the label of each text, or the answer to each question."""
        said = await _while_connected(request, service.predict(asked))
        seen: Seen = request.scope["crossflare"]
        seen.rows, seen.languages = len(said), [*dict.fromkeys(each.language for each in said)]
        return _json(PredictResponse(predictions=said))

    @app.get("/languages", response_model=LanguagesResponse, responses=_errors(*GET_ERRORS), **locked)
    async def languages() -> Response:
        """Return the languages, what is predicted of their texts, and whether they can be translated now."""
        return _json(LanguagesResponse(languages=languages_served(service)))

    @app.get("/info", response_model=Info, responses=_errors(*GET_ERRORS), **locked)
    async def info() -> Response:
        """Return versions, limits, and the essentials of the adapters' cards."""
        return _json(info_of(service))

    @app.get("/health", response_model=Health, responses=_errors(405, 500))
    async def health() -> Response:
        """Return 200 as long as the process answers at all."""
        return _json(Health(status="ok"))

    @app.get("/ready", response_model=Health, responses=_errors(405, 500, 503))
    async def ready() -> Response:
        """Return 200 if requests are taken, and 503 before the service stops."""
        if service.stopping:
            raise unavailable("the service is stopping", 5.0)
        return _json(Health(status="ready"))

    @app.get("/metrics", response_class=PlainTextResponse, responses={**_errors(*GET_ERRORS), 200: NUMBERS}, **locked)
    async def metrics() -> Response:
        """Return the numbers that Prometheus collects."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return _Problem(error, request.scope["crossflare"].id)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        said = ProblemError(HTTPStatus(error.status_code), "the request cannot be read; see /openapi.json")
        return _Problem(said, request.scope["crossflare"].id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _Problem(unprocessable(expectation(error.errors())), request.scope["crossflare"].id)

    app.add_middleware(Guard, routes=ROUTES, limits=service.limits, keys=keys, metrics=service.metrics)
    return app


class _Problem(Response):
    """A problem as the guard sends it."""

    def __init__(self, problem: ProblemError, id: str) -> None:
        super().__init__(status_code=int(problem.status))
        self._problem, self._id = problem, id

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, self._problem, self._id)


def _json(message: BaseModel) -> Response:
    """Return a message as it is: it was checked when it was made."""
    return Response(message.model_dump_json(), media_type="application/json")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse} for status in statuses}


async def _while_connected(request: Request, work: Any) -> list[Answer]:
    """Return what the work returns; end it when the client closes its connection.

    Raises:
        ClientGoneError: The client is gone.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return await working
    finally:
        watching.cancel()
        working.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
