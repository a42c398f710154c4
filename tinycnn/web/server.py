"""uvicorn with limits on connections, times and headers, and with errors in the form of the application's."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinycnn.web.security import CLOSE, RETRY, STOPPING, error_response

# Six for each browser of a class of 30. Further ones get 503; those beyond twice as many are closed at once.
MAX_CONNECTIONS = 200
HEAD_TIMEOUT_S = 10.0  # a client that has not sent the head of a request by then is disconnected
WRITE_TIMEOUT_S = 10.0  # a client that has not taken a response by then is disconnected
IDLE_TIMEOUT_S = 5  # between two requests, until the first byte of the second
STOP_TIMEOUT_S = 2  # for the requests under way when the server stops
MAX_HEADER = 16 * 1024  # bytes


class LimitedProtocol(H11Protocol):
    """HTTP/1.1 with time limits for the head of a request and for a response (uvicorn itself sets none)."""

    head_timer: asyncio.TimerHandle | None = None
    write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # pause_writing is called for the first byte that the system does not take
        self._expect_request()
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = error_response(503, "too many connections; ask again in a second.", {**RETRY, **CLOSE})
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()

    def on_response_complete(self) -> None:
        self._expect_request()
        super().on_response_complete()

    def _expect_request(self) -> None:
        cancel(self.head_timer)
        self.head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close_if_idle, self.cycle)

    def _close_if_idle(self, cycle: Any) -> None:
        is_idle = self.cycle is cycle and (cycle is None or cycle.response_complete)
        if is_idle and not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_timer = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        cancel(self.write_timer)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        cancel(self.head_timer)
        cancel(self.write_timer)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What uvicorn sends for bytes that are not HTTP, as JSON and with the security headers."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return self.transport.close()  # they follow a request whose response has begun
        sentence = f"not a request in HTTP/1.1, or one whose head is larger than {MAX_HEADER:,} bytes."
        response = error_response(400, sentence, CLOSE)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def cancel(timer: asyncio.TimerHandle | None) -> None:
    """Cancel a timer, if there is one."""
    if timer is not None:
        timer.cancel()


class Server(uvicorn.Server):
    """uvicorn's server; ``stop`` is called when it begins to stop."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self.stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.stop()
        await super().shutdown(sockets)


class StoppingMiddleware:
    """ASGI middleware that responds with 503 when the server cancels a request because it stops."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        except asyncio.CancelledError:
            if not started:
                await error_response(503, STOPPING, CLOSE)(scope, receive, send)


def make_server(app: ASGIApp, stop: Callable[[], None]) -> Server:
    """A server for ``app`` that speaks only HTTP/1.1, logs only warnings and errors, and calls ``stop`` at its end."""
    config = uvicorn.Config(
        StoppingMiddleware(app),
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    return Server(config, stop)
