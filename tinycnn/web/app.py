"""The routes: the files of the pages, descriptions, ``POST /predict``, and ``POST /backprop/…`` for the walk.

A network for whole pictures has a page of its own, and no walk.

Files are read once, when the server starts. The routes are a fixed list, so a request cannot name a file. In a clone of
the repository, these files include the chapters of the documentation, which the walk links to.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
from tinycnn.errors import DataError, SettingError, ShapeError
from tinycnn.web.decoder import PLACES, DecodingError, StoppedError
from tinycnn.web.picture_predictions import PicturePredictor
from tinycnn.web.predictions import Predictor
from tinycnn.web.request_picture import JSON_TYPE, MAX_BODY, UnsupportedTypeError, picture_type
from tinycnn.web.sample_images import SampleImages
from tinycnn.web.security import CLOSE, RETRY, STOPPING, BadRequestLimiter, SecurityMiddleware, error_response
from tinycnn.web.walk_requests import FIELDS, walk_request
from tinycnn.web.walker import Walker

STATIC = Path(__file__).parent / "static"
CHAPTERS = Path(__file__).parents[2] / "docs" / "path"  # in a clone of the repository; the wheel does not hold it
SCRIPTS = ("drawing", "page", "remote", "requests", "shown", "sums", "walk")
FILES = {
    "/": ("index.html", "text/html"),
    "/backprop": ("walk.html", "text/html"),
    **{f"/{name}": (name, "text/css") for name in ("colours.css", "page.css", "walk.css")},
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
    "/openapi.json": ("openapi.json", "application/json"),
}
PICTURE_FILES = {
    "/": ("pictures.html", "text/html"),
    **{f"/{name}": (name, "text/css") for name in ("colours.css", "page.css", "pictures.css")},
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("pictures", "requests", "shown")},
    "/openapi.json": ("openapi.json", "application/json"),
}
MAX_PENDING = 64  # requests that are being decoded or are waiting; each holds its body, at most 1 MiB, but no thread
MAX_RECEIVED = 1 << 24  # bytes of a body; beyond them the connection is closed
BODY_TIMEOUT_S = 10.0
BAD_DECODING = 10  # a picture whose decoding had to be ended counts as this many unreadable requests

Decode = Callable[[str, bytes, tuple[int, ...]], np.ndarray]  # as `decode_picture`


class RequestError(Exception):
    """Ends a request with an error response, which counts as ``bad`` unreadable requests of the client."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None, bad: int = 0) -> None:
        super().__init__(sentence)
        self.response, self.bad = error_response(status, sentence, headers), bad


class Admission:
    """What all endpoints share: the limits on unreadable and on pending requests, and the queue for the network."""

    def __init__(self) -> None:
        self.limiter, self.pending = BadRequestLimiter(), 0
        self.turn = asyncio.Semaphore(1)  # serves those who wait in the order in which they came

    async def respond(self, request: Request, work: Callable[[Request, str], Awaitable[Response]]) -> Response:
        """The response of ``work(request, client)``, or that of the RequestError that it raises."""
        client = request.client.host if request.client else ""
        try:
            return await work(request, client)
        except RequestError as error:
            if error.bad:
                self.limiter.record(client, error.bad)
            return error.response

    def check_rate(self, client: str) -> None:
        """Raise RequestError while ``client`` has to wait."""
        if wait := math.ceil(self.limiter.wait_s(client)):
            sentence = f"too many requests that could not be read; ask again in {wait} s."
            raise RequestError(429, sentence, {"Retry-After": str(wait)})

    @contextmanager
    def place(self) -> Iterator[None]:
        """Counts as a pending request until the block ends; raises RequestError when there are too many."""
        if self.pending >= MAX_PENDING:
            raise RequestError(503, "busy; ask again in a second.", RETRY)
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    async def compute(self, request: Request, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)`` in a thread, once the earlier requests are done; not for a client that has left."""
        async with self.turn:
            if await request.is_disconnected():
                raise RequestError(400, "the connection ended before the turn of the request came.")
            return await run_in_threadpool(function, *arguments)


class PredictEndpoint:
    """``POST /predict``: a picture in, probabilities out."""

    def __init__(self, predictor: Predictor | PicturePredictor, decode: Decode, admission: Admission) -> None:
        self.predictor, self.decode, self.admission = predictor, decode, admission
        self.places = asyncio.Semaphore(PLACES)

    async def __call__(self, request: Request) -> Response:
        return await self.admission.respond(request, self._predict)

    async def _predict(self, request: Request, client: str) -> Response:
        try:
            kind = picture_type(request.headers.get("content-type", ""))
        except UnsupportedTypeError as error:
            raise RequestError(415, str(error)) from None
        self.admission.check_rate(client)
        inside = wants_inside(request)
        body = await read_body(request)
        with self.admission.place():
            async with self.places:
                self.admission.check_rate(client)  # again: others of its pictures may have been decoded meanwhile
                picture = await run_in_threadpool(self._decode, kind, body)
            if picture is None:
                return JSONResponse({"empty": True, "digit": None, "answer": None, "probabilities": None})
            try:
                return JSONResponse(await self.admission.compute(request, self.predictor.predict, picture, inside))
            except SettingError as error:  # not the fault of the client
                raise RequestError(500, str(error)) from None

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


class WalkEndpoint:
    """``POST /backprop/KIND``: a picture and its true class in, the numbers of one step out; see ``walk_requests``."""

    def __init__(self, kind: str, walker: Walker, admission: Admission) -> None:
        self.kind, self.walker, self.admission = kind, walker, admission
        self.first = asyncio.Semaphore(
            1
        )  # only one of each kind waits for the network, so slow kinds delay others once

    async def __call__(self, request: Request) -> Response:
        return await self.admission.respond(request, self._walk)

    async def _walk(self, request: Request, client: str) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
            raise RequestError(415, f"expected a body of the Content-Type {JSON_TYPE}.")
        self.admission.check_rate(client)
        body = await read_body(request)
        with self.admission.place():
            async with self.first:
                result = await self.admission.compute(request, self._compute, body)
        if isinstance(result, bytes):
            return Response(result, media_type="application/octet-stream")
        return JSONResponse(result)

    def _compute(self, body: bytes) -> Any:
        (H, W, _), (classes,) = self.walker.model.input_shape, self.walker.model.output_shape
        try:
            found = walk_request(self.kind, body, (H, W), classes)
            return getattr(self.walker, self.kind)(found)
        except (DataError, SettingError, ShapeError) as error:
            raise RequestError(400, str(error), bad=1) from None


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


def create_app(predictor: Predictor | PicturePredictor, decode: Decode, names: Iterable[str] | None = None) -> ASGIApp:
    """The page and its endpoint; ``names`` are the host names it accepts besides loopback addresses (None: any)."""
    admission = Admission()

    async def describe_model(request: Request) -> Response:
        return JSONResponse(predictor.describe())

    files = PICTURE_FILES if isinstance(predictor, PicturePredictor) else FILES
    if not has_walk(predictor):
        files = {path: file for path, file in files.items() if path != "/backprop"}
    routes = [Route(path, _serve_file(name, kind), methods=["GET"]) for path, (name, kind) in files.items()]
    routes += [Route("/model", describe_model, methods=["GET"])]
    routes += [_post("/predict", PredictEndpoint(predictor, decode, admission))]
    if isinstance(predictor, Predictor) and has_walk(predictor):
        routes += _walk_routes(predictor, admission)
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _internal_error})
    app.router.redirect_slashes = False
    return SecurityMiddleware(app, names)  # outermost: an internal error gets the headers, too


def has_walk(predictor: Predictor | PicturePredictor) -> bool:
    """Whether there is a page that walks through backpropagation: for drawings, and a score for each class."""
    return isinstance(predictor, Predictor) and predictor.has_walk


def _walk_routes(predictor: Predictor, admission: Admission) -> list[Route]:
    walker = Walker(predictor.model, predictor.lock)
    samples = SampleImages(predictor.model, predictor.lock)
    chapters = {f"/path/{file.name}": str(file) for file in sorted(CHAPTERS.glob("[0-9]*.md"))}

    async def describe_walk(request: Request) -> Response:
        try:
            described = await admission.compute(request, walker.describe)
            return JSONResponse({**described, "chapters": "path/*.md" if chapters else ""})
        except SettingError as error:  # a network that is too large for the walk
            return error_response(400, str(error))

    async def describe_images(request: Request) -> Response:
        return JSONResponse(await admission.compute(request, samples.describe))

    routes = [Route(path, _serve_file(name, "text/plain"), methods=["GET"]) for path, name in chapters.items()]
    routes += [Route("/backprop/page", describe_walk, methods=["GET"])]
    routes += [Route("/backprop/images", describe_images, methods=["GET"])]
    return routes + [_post(f"/backprop/{kind}", WalkEndpoint(kind, walker, admission)) for kind in FIELDS]


def _post(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    async def respond(request: Request) -> Response:
        return await endpoint(request)

    return Route(path, respond, methods=["POST"])


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
