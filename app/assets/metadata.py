"""The two facts about a picture that metadata may carry past us: which way up it was taken (read from EXIF, applied to
the pixels, then gone), and that a machine made it (the IPTC mark, written by us)."""

from __future__ import annotations

import struct

MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

MARK = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{MADE_BY_AI}</Iptc4xmpExt:DigitalSourceType>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()

_ORIENTATION = 0x0112
_VALUE = {3: "H", 4: "I"}  # SHORT as the standard says, LONG as some cameras write it


def orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF, 1 to 8; 1 (upright) when there is none or it cannot be read."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        found = _look_up(tiff, order)
    except struct.error:
        return 1
    return found if 1 <= found <= 8 else 1


def _look_up(tiff: bytes, order: str) -> int:
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == _ORIENTATION and kind in _VALUE:
            return int(struct.unpack_from(order + _VALUE[kind], tiff, at + 8)[0])
    return 1
