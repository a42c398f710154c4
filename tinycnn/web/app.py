"""The routes: three files of the page, two descriptions, and ``POST /predict``.

Files are read once, when the server starts, and routes are a fixed list: no request names a file.
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
from tinycnn.web.answers import Answers
from tinycnn.web.guard import BadInput, Guard, refusal
from tinycnn.web.intake import MAX_BODY, UnsupportedTypeError, posted_picture

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
}
AT_ONCE = 8  # predictions that may wait for the network or for their picture to be decoded
BODY_TIMEOUT_S = 10.0


class Refused(Exception):
    """A request that ends here, with its answer."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(sentence)
        self.response = refusal(status, sentence, **headers)


class Predict:
    """``POST /predict``: a picture in, probabilities out."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.bad_input, self.busy = answers, BadInput(), 0

    async def __call__(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        if wait := math.ceil(self.bad_input.wait_s(client)):
            sentence = f"too many requests that could not be read; ask again in {wait} s."
            return refusal(429, sentence, **{"Retry-After": str(wait)})
        try:
            return JSONResponse(await self._answer(request))
        except Refused as error:
            if error.response.status_code < 500:
                self.bad_input.note(client)
            return error.response

    async def _answer(self, request: Request) -> dict[str, Any]:
        inside = wants_inside(request)
        body = await read_body(request)
        if self.busy >= AT_ONCE:
            raise Refused(503, "busy; ask again in a second.", **{"Retry-After": "1"})
        self.busy += 1
        try:
            return await run_in_threadpool(self._compute, request.headers.get("content-type", ""), body, inside)
        finally:
            self.busy -= 1

    def _compute(self, content_type: str, body: bytes, inside: bool) -> dict[str, Any]:
        try:
            return self.answers.answer(posted_picture(content_type, body, self.answers.shape), inside)
        except EmptyDrawingError:
            return {"empty": True, "digit": None, "answer": None, "probabilities": None}
        except UnsupportedTypeError as error:
            raise Refused(415, str(error)) from None
        except DataError as error:
            raise Refused(400, str(error)) from None


def wants_inside(request: Request) -> bool:
    """Whether ``?inside=1`` asks for feature maps and saliency."""
    query = request.query_params
    if set(query) - {"inside"} or query.get("inside", "0") not in ("0", "1"):
        raise Refused(400, "the only query parameter is inside=0 or inside=1.")
    return query.get("inside") == "1"


async def read_body(request: Request) -> bytes:
    """The body, at most 1 MiB, within ten seconds."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared[:20]) > MAX_BODY:
        raise Refused(413, f"the body is larger than {MAX_BODY:,} bytes.", Connection="close")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read_at_most(request, MAX_BODY)
    except TimeoutError:
        sentence = f"the body did not arrive within {BODY_TIMEOUT_S:g} seconds."
        raise Refused(408, sentence, Connection="close") from None
    except ClientDisconnect:
        raise Refused(400, "the connection ended before the body did.") from None


async def _read_at_most(request: Request, most: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise Refused(413, f"the body is larger than {most:,} bytes.", Connection="close")
    return bytes(body)


def create_app(answers: Answers, names: Iterable[str] | None = None) -> Starlette:
    """The page and its endpoint as an ASGI application that answers to the host ``names`` (None: to any)."""

    async def about(request: Request) -> Response:
        return JSONResponse(answers.about())

    routes = [Route(path, _file(name, kind), methods=["GET"]) for path, (name, kind) in FILES.items()]
    routes += [
        Route("/model", about, methods=["GET"]),
        Route("/predict", _endpoint(Predict(answers)), methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, names=names)],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(predict: Predict) -> Any:
    async def endpoint(request: Request) -> Response:
        return await predict(request)

    return endpoint


def _file(name: str, kind: str) -> Any:
    content = (STATIC / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    sentence = {404: "there is nothing at this address.", 405: "this address does not take that method."}
    headers = getattr(error, "headers", None) or {}
    return refusal(status, sentence.get(status, str(error)), **headers)


async def _bug(request: Request, error: Exception) -> Response:
    return refusal(500, "the server made a mistake; its log tells more.")
