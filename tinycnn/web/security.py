"""Around every response: accepted host names, no requests from foreign pages, a limit on bad requests, and headers."""

import ipaddress
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
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
RETRY = {"Retry-After": "1"}
CLOSE = {"Connection": "close"}
STOPPING = "the server is stopping."
HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")  # a name or an address, and a port


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as JSON: ``{"error": sentence}``, with the security headers."""
    return JSONResponse({"error": sentence}, status, headers={**HEADERS, **(headers or {})})


class BadRequestLimiter:
    """Records the times of each client's unreadable requests, for at most 1,000 clients."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.times = clock, OrderedDict[str, deque[float]]()

    def record(self, client: str, count: int = 1) -> None:
        """Record that ``client`` has just sent an unreadable request, which counts as ``count`` of them."""
        self.times.setdefault(client, deque(maxlen=MAX_BAD)).extend([self.clock()] * count)
        self.times.move_to_end(client)
        if len(self.times) > MAX_CLIENTS:
            self.times.popitem(last=False)

    def wait_s(self, client: str) -> float:
        """Seconds until ``client`` may send again; 0 unless it sent 30 unreadable requests within a minute."""
        times = self.times.get(client)
        return max(0.0, times[0] + BAD_WINDOW_S - self.clock()) if times and len(times) == MAX_BAD else 0.0


class SecurityMiddleware:
    """ASGI middleware that adds the security headers, and rejects requests that a foreign page can make a browser send.

    ``names``: the accepted host names besides loopback addresses, against DNS rebinding; None: any.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] | None = None) -> None:
        self.app, self.names = app, None if names is None else frozenset(map(host_name, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app, headers = self.app, Headers(scope=scope)
        if not self._is_own_name(headers.getlist("host")):
            app = error_response(400, "this server does not accept that host name.")
        elif scope["method"] not in ("GET", "HEAD") and is_cross_origin(headers):
            app = error_response(403, "the request comes from a page of another host.")
        await app(scope, receive, send_with_headers)

    def _is_own_name(self, hosts: list[str]) -> bool:
        if self.names is None:
            return True
        return len(hosts) == 1 and (host_name(hosts[0]) in self.names or is_loopback(host_name(hosts[0])))


def host_name(host: str) -> str:
    """``LOCALHOST.:8000`` → ``localhost``, ``[::1]:8000`` → ``::1``."""
    match = HOST.fullmatch(host)
    return (match[1] if match else host).lower().removesuffix(".").strip("[]")


def is_loopback(address: str) -> bool:
    """Whether ``address`` is an IP address of this machine only, as 127.0.0.1 and ::1; names are not resolved."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def is_cross_origin(headers: Headers) -> bool:
    """Whether a browser sent the request for a page of another origin. Other programs send neither header.

    The method of ``http.CrossOriginProtection`` in Go's standard library: browsers send Sec-Fetch-Site to trustworthy
    addresses, which includes 127.0.0.1, and Origin to all; pages cannot set either.
    """
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()
