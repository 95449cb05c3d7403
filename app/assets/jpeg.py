"""JPEG: a row of marked segments, then entropy-coded scans. What draws the picture stays, byte for byte; of the
application segments only what its colours need (JFIF's head, ICC profiles, Adobe's transform)."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from app.assets.metadata import MARK, orientation
from app.assets.pieces import BLOCK, Layout, NotAPicture, counted, exactly

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_DRAWS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xE0), 0xDB}) - {0xC8}  # frames, tables, scans
_MOST_FILL = 16
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in a scan: no stuffed zero, no fill, no restart


def layout(source: BinaryIO, *, mark: bool) -> Layout:
    out = Layout([b"\xff\xd8"])
    source.seek(2)
    unmarked = mark
    for _ in counted():
        marker = _marker(source)
        if marker == _EOI:
            out.add(b"\xff\xd9")
            return out
        start = source.tell()
        (length,) = struct.unpack(">H", exactly(source, 2))
        if length < 2:
            raise NotAPicture("A segment of the JPEG says that it is shorter than its own head.")
        head = exactly(source, length - 2)
        if unmarked and marker != _APP0:
            out.add(_segment(_APP1, b"http://ns.adobe.com/xap/1.0/\0" + MARK))
            unmarked = False
        _pass_on(out, marker, head, start)
        if marker == _SOS:
            end = _end_of_scan(source)
            out.keep(start + length, end)
            source.seek(end)
    raise AssertionError  # `counted` raises before it ends


def _marker(source: BinaryIO) -> int:
    if exactly(source, 1) != b"\xff":
        raise NotAPicture("There are stray bytes between the segments of the JPEG.")
    for _ in range(_MOST_FILL):
        byte = exactly(source, 1)[0]
        if byte != 0xFF:
            return byte
    raise NotAPicture("There are stray bytes between the segments of the JPEG.")


def _pass_on(out: Layout, marker: int, head: bytes, start: int) -> None:
    """Add what stays of one segment. Its marker is written anew, because fill bytes may stand before it."""
    if marker == _APP0 and head.startswith(b"JFIF\0") and len(head) >= 12:
        out.add(_segment(_APP0, head[:12] + b"\0\0"))  # without the thumbnail it may hold
    elif marker == _APP14 and head.startswith(b"Adobe") and len(head) >= 12:
        out.add(_segment(_APP14, head[:12]))
    elif marker in _DRAWS or (marker == _APP2 and head.startswith(b"ICC_PROFILE\0")):
        out.add(bytes((0xFF, marker)))
        out.keep(start, start + 2 + len(head))
    elif marker == _APP1 and head.startswith(b"Exif\0\0") and out.orientation == 1:
        out.orientation = orientation(head)
    elif not (_APP0 <= marker <= _APP15 or marker == _COM):
        raise NotAPicture(f"The JPEG holds a segment of an unknown kind ({marker:02X}).")


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _end_of_scan(source: BinaryIO) -> int:
    """Where the next marker begins after the entropy-coded bytes that start here."""
    at = source.tell()
    tail = b""
    while block := source.read(BLOCK):
        if found := _NEXT_MARKER.search(tail + block):
            return at - len(tail) + found.start()
        at += len(block)
        tail = b"\xff" if block.endswith(b"\xff") else b""
    raise NotAPicture("The file ends before the picture does.")
