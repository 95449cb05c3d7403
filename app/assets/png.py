"""PNG: a row of chunks. The critical ones and those that colours need stay, byte for byte."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from app.assets.metadata import MARK, orientation
from app.assets.pieces import Layout, NotAPicture, counted, exactly

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CRITICAL = {b"IHDR", b"PLTE", b"IDAT"}
_COLOUR = {  # and the longest each can honestly be, so that none of them carries a stowaway
    b"tRNS": 256,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"cICP": 4,
    b"mDCV": 24,
    b"cLLI": 8,
    b"iCCP": 4_000_000,
}
_ANIMATED = {b"acTL", b"fcTL", b"fdAT"}
_EXIF_READ = 65_536


def layout(source: BinaryIO, *, mark: bool) -> Layout:
    out = Layout()
    out.keep(0, len(SIGNATURE))
    source.seek(len(SIGNATURE))
    for number in counted():
        start = source.tell()
        length, kind = struct.unpack(">I4s", exactly(source, 8))
        end = start + 12 + length
        _check(number, kind, length)
        if kind == b"IEND":
            out.add(_chunk(b"IEND", b""))
            return out
        if kind in _CRITICAL or length <= _COLOUR.get(kind, -1):
            out.keep(start, end)
        elif kind == b"eXIf":
            out.orientation = orientation(source.read(min(length, _EXIF_READ)))
        if number == 0 and mark:
            out.add(_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + MARK))
        source.seek(end)
    raise AssertionError  # `counted` raises before it ends


def _check(number: int, kind: bytes, length: int) -> None:
    if (number == 0) != (kind == b"IHDR") or (kind == b"IHDR" and length != 13):
        raise NotAPicture("The PNG does not begin with one proper header.")
    if kind in _ANIMATED:
        raise NotAPicture("Animated PNGs are not taken; send a single picture.")
    if kind not in _CRITICAL and kind != b"IEND" and not kind[0] & 0x20:
        raise NotAPicture("The PNG holds a critical chunk of an unknown kind.")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
