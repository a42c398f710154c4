"""uvicorn with its limits set: connections, silence, headers."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 100
SILENCE_S = 10  # a client that has not said by then what it wants is shown out
MOST_HEADER = 16 * 1024  # bytes


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that does not wait for ever for the head of a request (uvicorn itself sets no limit)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        self.loop.call_later(SILENCE_S, self._close_if_still, self.cycle)

    def _close_if_still(self, cycle: Any) -> None:
        nothing_new = self.cycle is cycle and (cycle is None or cycle.response_complete)
        if nothing_new and not self.transport.is_closing():
            self.transport.close()


def make_server(app: Any, host: str, port: int) -> uvicorn.Server:
    """A server for ``app`` that speaks HTTP/1.1 only and logs nothing but errors."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEADER,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
