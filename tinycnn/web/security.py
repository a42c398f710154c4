"""Checks before every route: accepted host names, a limit on bad requests, and the security headers for browsers."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BAD, BAD_WINDOW_S, MAX_CLIENTS = 30, 60.0, 1000

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def error_response(status: int, sentence: str, **headers: str) -> JSONResponse:
    """An error as JSON: ``{"error": sentence}``."""
    return JSONResponse({"error": sentence}, status, headers=headers or None)


class BadRequestLimiter:
    """Records the times of each client's unreadable requests, for at most 1,000 clients."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.times = clock, OrderedDict[str, deque[float]]()

    def record(self, client: str) -> None:
        """Record that ``client`` has just sent an unreadable request."""
        self.times.setdefault(client, deque(maxlen=MAX_BAD)).append(self.clock())
        self.times.move_to_end(client)
        if len(self.times) > MAX_CLIENTS:
            self.times.popitem(last=False)

    def wait_s(self, client: str) -> float:
        """Seconds until ``client`` may send again; 0 unless it sent 30 unreadable requests within a minute."""
        times = self.times.get(client)
        return max(0.0, times[0] + BAD_WINDOW_S - self.clock()) if times and len(times) == MAX_BAD else 0.0


class SecurityMiddleware:
    """ASGI middleware that rejects unknown host names (against DNS rebinding) and adds the security headers.

    ``names``: the accepted host names; None: any.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] | None = None) -> None:
        self.app, self.names = app, None if names is None else frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        accepted = self._is_accepted(scope)
        app = self.app if accepted else error_response(400, "this server does not accept that host name.")
        await app(scope, receive, send_with_headers)

    def _is_accepted(self, scope: Scope) -> bool:

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return self.names is None or (len(hosts) == 1 and without_port(hosts[0]) in self.names)


def without_port(host: str) -> str:
    """``localhost:8000`` → ``localhost``, ``[::1]:8000`` → ``[::1]``."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host
