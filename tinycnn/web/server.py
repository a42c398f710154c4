"""uvicorn with limits on connections, idle time and headers."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 100
HEAD_TIMEOUT_S = 10  # a client that has not sent the head of a request by then is disconnected
MAX_HEADER = 16 * 1024  # bytes


class HeadTimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for the head of a request (uvicorn itself sets none)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        self.loop.call_later(HEAD_TIMEOUT_S, self._close_if_idle, self.cycle)

    def _close_if_idle(self, cycle: Any) -> None:
        is_idle = self.cycle is cycle and (cycle is None or cycle.response_complete)
        if is_idle and not self.transport.is_closing():
            self.transport.close()


def make_server(app: Any, host: str, port: int) -> uvicorn.Server:
    """A server for ``app`` that speaks only HTTP/1.1 and logs only warnings and errors."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=HeadTimeoutProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
