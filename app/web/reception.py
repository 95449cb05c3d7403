"""Where a connection waits to be heard. uvicorn lets a caller take for ever over the headers and send as many as he
likes; here they have 10 seconds and 32 KB. Bodies are held to a pace further in, where their limit is known (`intake`).
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class OversizedError(Exception):
    """The headers are longer than is taken."""


class Reception(HttpToolsProtocol):
    """A request whose headers come in one piece, as nearly all do, costs nothing extra."""

    patience = 10.0
    most = 32_768

    _timer: TimerHandle | None = None
    _in_head = False
    _head = 0
    _suspect = False
    """More bytes than the headers may have are there; how many of them are headers is not known yet."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn narrows it the same way
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._suspect = self._head + len(data) > self.most
        super().data_received(data)
        if not self._in_head:
            return
        self._head += len(data)
        if self._suspect:
            self.send_400_response("")
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head, self._head = False, 0
        self._stop_waiting()
        if (
            self._suspect
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.most
        ):
            raise OversizedError
        self._suspect = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if not self._suspect:
            super().send_400_response(msg)
        elif not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.patience, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
