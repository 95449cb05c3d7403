"""Writing a piece of a streamed answer onto the connection itself, where the server hands it out: a fifth less CPU for
each reader than through its `send`, since the piece is put into its chunk once for all readers. Whatever is wrapped
around `send` sees how an answer begins and ends, and not these pieces.
"""

from __future__ import annotations

from asyncio import WriteTransport
from socket import SO_LINGER, SO_SNDBUF, SOL_SOCKET
from struct import pack

_AT_ONCE = pack("ii", 1, 0)


class Straight:
    def __init__(self) -> None:
        self._body = self._chunk = b""

    def write(self, transport: WriteTransport | None, body: bytes) -> bool:
        """False when there is no connection to be had, or something waits there already: then `send` has to wait."""
        if transport is None or transport.get_write_buffer_size() or transport.is_closing():
            return False
        if body is not self._body:
            self._body, self._chunk = body, b"%x\r\n%b\r\n" % (len(body), body)
        transport.write(self._chunk)
        return True


def keep_short(transport: WriteTransport | None, most: int) -> WriteTransport | None:
    """Have the kernel hold about so many bytes for this reader, and us a quarter of that. Left alone the kernel takes
    in megabytes for one who reads nothing, and for minutes nobody sees that he does not."""
    if transport is not None:
        transport.set_write_buffer_limits(high=most // 4)
        if (line := transport.get_extra_info("socket")) is not None:
            line.setsockopt(SOL_SOCKET, SO_SNDBUF, most)
    return transport


def sever(transport: WriteTransport) -> None:
    """Cut it off, and have the kernel forget what it holds. Else it goes on offering that to the reader until TCP gives
    up, a quarter of an hour later."""
    if (line := transport.get_extra_info("socket")) is not None:
        line.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
    transport.abort()
