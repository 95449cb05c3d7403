"""WebP: chunks in a RIFF. The picture, its alpha and its colour profile stay, byte for byte; the head (VP8X) is written
anew to say what is still there."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from app.assets.metadata import MARK, orientation
from app.assets.pieces import Layout, NotAPicture, counted, exactly

_HAS_PROFILE, _HAS_ALPHA, _HAS_XMP, _ANIMATED = 0x20, 0x10, 0x04, 0x02
_KEPT = (b"ICCP", b"ALPH", b"VP8 ", b"VP8L")
_EXIF_READ = 65_536


@dataclass(frozen=True)
class _Chunk:
    start: int
    size: int
    head: bytes

    @property
    def end(self) -> int:
        return self.start + 8 + self.size


def layout(source: BinaryIO, *, mark: bool) -> Layout:
    chunks = _chunks(source)
    if b"ANIM" in chunks or b"ANMF" in chunks or (b"VP8X" in chunks and chunks[b"VP8X"].head[0] & _ANIMATED):
        raise NotAPicture("Animated WebPs are not taken; send a single picture.")
    if (b"VP8 " in chunks) == (b"VP8L" in chunks):
        raise NotAPicture("The WebP does not hold one picture.")
    body = Layout()
    if b"EXIF" in chunks:
        body.orientation = orientation(chunks[b"EXIF"].head)
    if mark or b"VP8X" in chunks:
        body.add(_chunk(b"VP8X", _vp8x(chunks, mark=mark)))
    for kind in _KEPT:
        if kind in chunks:
            _keep(body, chunks[kind])
    if mark:
        body.add(_chunk(b"XMP ", MARK))
    body.pieces.insert(0, b"RIFF" + struct.pack("<I", body.size() + 4) + b"WEBP")
    return body


def _chunks(source: BinaryIO) -> dict[bytes, _Chunk]:
    """The first chunk of each kind, as readers take it, with as much of its payload as anybody here looks at."""
    source.seek(4)
    (size,) = struct.unpack("<I", exactly(source, 4))
    found: dict[bytes, _Chunk] = {}
    at, end = 12, 8 + size
    for _ in counted():
        if at + 8 > end:
            return found
        source.seek(at)
        kind, length = struct.unpack("<4sI", exactly(source, 8))
        wanted = _EXIF_READ if kind == b"EXIF" else 10
        chunk = _Chunk(at, length, exactly(source, min(length, wanted)))
        if kind == b"VP8X" and len(chunk.head) < 10:
            raise NotAPicture("The head of the WebP is too short.")
        found.setdefault(kind, chunk)
        at = chunk.end + length % 2
    raise AssertionError  # `counted` raises before it ends


def _vp8x(chunks: dict[bytes, _Chunk], *, mark: bool) -> bytes:
    if b"VP8X" in chunks:
        flags, canvas = chunks[b"VP8X"].head[0] & _HAS_ALPHA, chunks[b"VP8X"].head[4:10]
    else:
        flags, canvas = _from_bitstream(chunks)
    flags |= (_HAS_PROFILE if b"ICCP" in chunks else 0) | (_HAS_XMP if mark else 0)
    return bytes((flags, 0, 0, 0)) + canvas


def _from_bitstream(chunks: dict[bytes, _Chunk]) -> tuple[int, bytes]:
    """The alpha flag and the canvas size that a simple file keeps only in its picture's own first bytes."""
    head = chunks[b"VP8L" if b"VP8L" in chunks else b"VP8 "].head
    if len(head) < 10 and not (b"VP8L" in chunks and len(head) >= 5):
        raise NotAPicture("The file ends before the picture does.")
    if b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", head, 1)
        alpha, width, height = bits >> 28 & 1, bits & 0x3FFF, bits >> 14 & 0x3FFF
    else:
        across, down = struct.unpack_from("<HH", head, 6)
        alpha, width, height = 0, (across & 0x3FFF) - 1, (down & 0x3FFF) - 1
    if width < 0 or height < 0:
        raise NotAPicture("The WebP says that it has no size.")
    return alpha * _HAS_ALPHA, width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _keep(body: Layout, chunk: _Chunk) -> None:
    body.keep(chunk.start, chunk.end)
    if chunk.size % 2:
        body.add(b"\0")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)
