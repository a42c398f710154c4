"""The routes: the three files of the page, two descriptions, and ``POST /predict``.

Files are read once, when the server starts. The routes are a fixed list, so a request cannot name a file.
"""

import asyncio
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tinycnn.data.drawing import EmptyDrawingError
from tinycnn.errors import DataError
from tinycnn.web.predictions import Predictor
from tinycnn.web.request_picture import MAX_BODY, UnsupportedTypeError, decode_picture
from tinycnn.web.security import BadRequestLimiter, SecurityMiddleware, error_response

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
}
MAX_PENDING = 8  # requests that are being decoded or are waiting for the network
BODY_TIMEOUT_S = 10.0


class RequestError(Exception):
    """Ends a request with an error response."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.response = error_response(status, sentence, **headers)


class PredictEndpoint:
    """``POST /predict``: a picture in, probabilities out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.limiter, self.pending = predictor, BadRequestLimiter(), 0

    async def __call__(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        if wait := math.ceil(self.limiter.wait_s(client)):
            sentence = f"too many requests that could not be read; ask again in {wait} s."
            return error_response(429, sentence, **{"Retry-After": str(wait)})
        try:
            return JSONResponse(await self._predict(request))
        except RequestError as error:
            if error.response.status_code < 500:
                self.limiter.record(client)
            return error.response

    async def _predict(self, request: Request) -> dict[str, Any]:
        inside = wants_inside(request)
        body = await read_body(request)
        if self.pending >= MAX_PENDING:
            raise RequestError(503, "busy; ask again in a second.", **{"Retry-After": "1"})
        self.pending += 1
        try:
            return await run_in_threadpool(self._compute, request.headers.get("content-type", ""), body, inside)
        finally:
            self.pending -= 1

    def _compute(self, content_type: str, body: bytes, inside: bool) -> dict[str, Any]:
        try:
            return self.predictor.predict(decode_picture(content_type, body, self.predictor.shape), inside)
        except EmptyDrawingError:
            return {"empty": True, "digit": None, "answer": None, "probabilities": None}
        except UnsupportedTypeError as error:
            raise RequestError(415, str(error)) from None
        except DataError as error:
            raise RequestError(400, str(error)) from None


def wants_inside(request: Request) -> bool:
    """Whether ``?inside=1`` asks for feature maps and saliency; raises RequestError for any other query."""
    query = request.query_params
    if set(query) - {"inside"} or query.get("inside", "0") not in ("0", "1"):
        raise RequestError(400, "the only query parameter is inside=0 or inside=1.")
    return query.get("inside") == "1"


async def read_body(request: Request) -> bytes:
    """The body of the request; raises RequestError above 1 MiB, or when it takes longer than ten seconds."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > MAX_BODY:
        raise RequestError(413, f"the body is larger than {MAX_BODY:,} bytes.", Connection="close")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read_at_most(request, MAX_BODY)
    except TimeoutError:
        sentence = f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds."
        raise RequestError(408, sentence, Connection="close") from None
    except ClientDisconnect:
        raise RequestError(400, "the connection ended before the body did.") from None


async def _read_at_most(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise RequestError(413, f"the body is larger than {limit:,} bytes.", Connection="close")
    return bytes(body)


def create_app(predictor: Predictor, names: Iterable[str] | None = None) -> Starlette:
    """The page and its endpoint as an ASGI application; ``names`` are the host names it accepts (None: any)."""

    async def describe_model(request: Request) -> Response:
        return JSONResponse(predictor.describe())

    routes = [Route(path, _serve_file(name, kind), methods=["GET"]) for path, (name, kind) in FILES.items()]
    routes += [
        Route("/model", describe_model, methods=["GET"]),
        Route("/predict", _as_function(PredictEndpoint(predictor)), methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityMiddleware, names=names)],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )
    app.router.redirect_slashes = False
    return app


def _as_function(endpoint: PredictEndpoint) -> Any:
    async def predict(request: Request) -> Response:
        return await endpoint(request)

    return predict


def _serve_file(name: str, kind: str) -> Any:
    content = (STATIC / name).read_bytes()

    async def serve(request: Request) -> Response:
        return Response(content, media_type=kind)

    return serve


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = {404: "there is nothing at this address.", 405: "this address does not accept that method."}

    headers = getattr(error, "headers", None) or {}
    return error_response(status, sentence.get(status, str(error)), **headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(500, "internal server error; see the server's log.")
