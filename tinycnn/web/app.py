"""The routes: the three files of the page, two descriptions, and ``POST /predict``.

Files are read once, when the server starts. The routes are a fixed list, so a request cannot name a file.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tinycnn.data.drawing import EmptyDrawingError
from tinycnn.errors import DataError
from tinycnn.web.decoder import PLACES, DecodingError, StoppedError
from tinycnn.web.predictions import Predictor
from tinycnn.web.request_picture import MAX_BODY, UnsupportedTypeError, picture_type
from tinycnn.web.security import CLOSE, RETRY, STOPPING, BadRequestLimiter, SecurityMiddleware, error_response

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
}
MAX_PENDING = 8  # requests that are being decoded or are waiting for a process or the network
MAX_RECEIVED = 1 << 24  # bytes of a body; beyond them the connection is closed
BODY_TIMEOUT_S = 10.0
BAD_DECODING = 10  # a picture whose decoding had to be ended counts as this many unreadable requests

Decode = Callable[[str, bytes, tuple[int, int]], np.ndarray]  # as `decode_picture`


class RequestError(Exception):
    """Ends a request with an error response, which counts as ``bad`` unreadable requests of the client."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None, bad: int = 0) -> None:
        super().__init__(sentence)
        self.response, self.bad = error_response(status, sentence, headers), bad


class PredictEndpoint:
    """``POST /predict``: a picture in, probabilities out."""

    def __init__(self, predictor: Predictor, decode: Decode) -> None:
        self.predictor, self.decode, self.limiter = predictor, decode, BadRequestLimiter()
        self.pending, self.places = 0, asyncio.Semaphore(PLACES)

    async def __call__(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        try:
            return JSONResponse(await self._predict(request, client))
        except RequestError as error:
            if error.bad:
                self.limiter.record(client, error.bad)
            return error.response

    async def _predict(self, request: Request, client: str) -> dict[str, Any]:
        try:
            kind = picture_type(request.headers.get("content-type", ""))
        except UnsupportedTypeError as error:
            raise RequestError(415, str(error)) from None
        self._check_rate(client)
        inside = wants_inside(request)
        body = await read_body(request)
        if self.pending >= MAX_PENDING:
            raise RequestError(503, "busy; ask again in a second.", RETRY)
        self.pending += 1
        try:
            async with self.places:
                self._check_rate(client)  # again: others of its pictures may have been decoded meanwhile
                picture = await run_in_threadpool(self._decode, kind, body)
            if picture is None:
                return {"empty": True, "digit": None, "answer": None, "probabilities": None}
            return await run_in_threadpool(self.predictor.predict, picture, inside)
        finally:
            self.pending -= 1

    def _check_rate(self, client: str) -> None:
        if wait := math.ceil(self.limiter.wait_s(client)):
            sentence = f"too many requests that could not be read; ask again in {wait} s."
            raise RequestError(429, sentence, {"Retry-After": str(wait)})

    def _decode(self, kind: str, body: bytes) -> np.ndarray | None:
        try:
            return self.decode(kind, body, self.predictor.shape)
        except EmptyDrawingError:
            return None
        except DecodingError as error:
            raise RequestError(400, str(error), bad=BAD_DECODING) from None
        except DataError as error:
            raise RequestError(400, str(error), bad=1) from None
        except StoppedError:
            raise RequestError(503, STOPPING, CLOSE) from None


def wants_inside(request: Request) -> bool:
    """Whether ``?inside=1`` asks for feature maps and saliency; raises RequestError for any other query."""
    query = request.query_params
    if set(query) - {"inside"} or query.get("inside", "0") not in ("0", "1"):
        raise RequestError(400, "the only query parameter is inside=0 or inside=1.", bad=1)
    return query.get("inside") == "1"


async def read_body(request: Request) -> bytes:
    """The body of the request; raises RequestError above 1 MiB, or when it takes longer than ten seconds."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await _receive_body(request)
    except TimeoutError:
        sentence = f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds."
        raise RequestError(408, sentence, CLOSE, bad=1) from None
    except ClientDisconnect:
        raise RequestError(400, "the connection ended before the body did.") from None
    if body is None:
        raise RequestError(413, f"the body is larger than {MAX_BODY:,} bytes.", CLOSE, bad=1)
    return body


async def _receive_body(request: Request) -> bytes | None:
    """The body; None above 1 MiB. A slightly larger body is read to its end: many clients read only after sending."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > MAX_RECEIVED:
        return None
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_RECEIVED:
            return None
        if size <= MAX_BODY:
            body += chunk
    return bytes(body) if size <= MAX_BODY else None


def create_app(predictor: Predictor, decode: Decode, names: Iterable[str] | None = None) -> ASGIApp:
    """The page and its endpoint; ``names`` are the host names it accepts beside loopback addresses (None: any)."""
    predict = PredictEndpoint(predictor, decode)

    async def describe_model(request: Request) -> Response:
        return JSONResponse(predictor.describe())

    async def answer(request: Request) -> Response:
        return await predict(request)

    routes = [Route(path, _serve_file(name, kind), methods=["GET"]) for path, (name, kind) in FILES.items()]
    routes += [Route("/model", describe_model, methods=["GET"]), Route("/predict", answer, methods=["POST"])]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _internal_error})
    app.router.redirect_slashes = False
    return SecurityMiddleware(app, names)  # outermost: an internal error gets the headers, too


def _serve_file(name: str, kind: str) -> Any:
    content = (STATIC / name).read_bytes()

    async def serve(request: Request) -> Response:
        return Response(content, media_type=kind)

    return serve


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = {404: "there is nothing at this address.", 405: "this address does not accept that method."}

    headers = getattr(error, "headers", None) or {}
    return error_response(status, sentence.get(status, str(error)), headers)


async def _internal_error(request: Request, error: Exception) -> Response:
    return error_response(500, "internal server error; see the server's log.")
