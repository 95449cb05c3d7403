"""Forms with files (multipart/form-data), streamed to disk as they come: memory does not grow with the picture, every
limit is checked before the next byte is taken, and the files are gone when the answer is under way.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
import shutil
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from app.core.errors import FieldError, InvalidRequest, Malformed, Problem, StorageFull, TooLarge, pointer
from app.core.strict_json import strict_json
from app.web.answers import Upload
from app.web.contract import Part
from app.web.guards import Limits
from app.web.parsing import CLOSE, JSON_TYPE, chunks_of, collect, megabytes, read_body, refuse_long, refuse_other_media

FORM_TYPE = re.compile(rb"^multipart/form-data *;", re.IGNORECASE)
BOUNDARY = re.compile(rb'^multipart/form-data *; *boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70})) *\Z', re.IGNORECASE)
ONE_WRITE = 262_144
LONGEST_NAME = 150


@asynccontextmanager
async def read_form(
    part: Part, headers: Mapping[bytes, bytes], receive: Receive, limits: Limits, scratch: Path
) -> AsyncIterator[tuple[BaseModel, bytes]]:
    """The form as the model wants it, and a digest of all that was in it. Its files live as long as this context. One
    that holds no file may come as a JSON object as well.

    Raises:
        UnsupportedMediaType: it is no multipart form.
        Malformed: it is a broken one.
        TooLarge: more bytes than `limits` allow, in all or in one part.
        InvalidRequest: more files or fields than `limits` allow, or it does not fit the model.

    """
    if not part.needs_file and JSON_TYPE.match(headers.get(b"content-type", b"")):
        refuse_long(headers, limits.body)
        raw = await read_body(receive, limits.body)
        form_of_json = collect(part.without_files, _pairs_of(strict_json(raw, limits.depth)), "/body")
        try:
            yield form_of_json, hashlib.sha256(raw).digest()
        except Problem as problem:  # the handler knows a form; the caller sent a body
            problem.errors = tuple(
                replace(error, pointer="/body" + error.pointer.removeprefix("/form"))
                if error.pointer.startswith("/form/")
                else error
                for error in problem.errors
            )
            raise
        return
    others = () if part.needs_file else ("application/json",)
    refuse_other_media(headers, FORM_TYPE, "multipart/form-data", *others)
    refuse_long(headers, limits.form, limits.file)
    match = BOUNDARY.match(headers[b"content-type"])
    if match is None:
        raise Malformed("The Content-Type needs exactly one boundary of at most 70 characters.")
    form = _Form(part.names, limits, scratch)
    try:
        await _feed(form, match[1] or match[2], chunks_of(receive, limits.form), limits)
        yield collect(part, form.pairs, "/form"), form.digest.digest()
    finally:
        await form.discard()


def _pairs_of(document: Any) -> list[tuple[str, Any]]:
    """A JSON object as the names and values a form has: only texts, each perhaps several times."""
    if not isinstance(document, dict):
        raise Malformed("The body is not a JSON object.")
    listed = {name: given if isinstance(given, list) else [given] for name, given in document.items()}
    pairs = [(name, value) for name, values in listed.items() for value in values]
    no_text = [name for name, value in pairs if not isinstance(value, str)]
    if no_text:
        raise InvalidRequest(
            errors=[FieldError(pointer("/body", (name,)), "This should be text.", "string-type") for name in no_text]
        )
    return pairs


async def _feed(form: _Form, boundary: bytes, chunks: AsyncIterator[bytes], limits: Limits) -> None:
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin_part,
            "on_part_data": form.take_data,
            "on_part_end": form.end_part,
            "on_header_field": form.take_header_name,
            "on_header_value": form.take_header_value,
            "on_header_end": form.end_header,
            "on_headers_finished": form.end_headers,
            "on_end": form.end,
        },
        max_header_count=limits.part_headers,
        max_header_size=limits.part_header,
    )
    try:
        async for chunk in chunks:
            parser.write(chunk)
            if form.waiting > ONE_WRITE:
                await form.flush()
        await form.flush()
    except FormParserError:
        raise Malformed("The form is broken: its parts cannot be told apart.") from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull from error
        raise
    if not form.ended:
        raise Malformed("The form ends before its last boundary.")


class _Form:
    """What the parser has found so far. Its methods are called in the middle of a chunk, so they never wait: bytes of
    files are put aside in `_writes` until `flush`.
    """

    def __init__(self, names: Mapping[str, bool], limits: Limits, scratch: Path) -> None:
        self.pairs: list[tuple[str, Any]] = []
        self.digest = hashlib.sha256()
        self.waiting = 0
        self.ended = False
        self._names, self._limits, self._scratch = names, limits, scratch
        self._folder: Path | None = None
        self._writes: list[tuple[Path | None, bytes]] = []
        self._files = self._fields = 0
        self._header_name, self._header_value = b"", b""
        self.begin_part()

    def begin_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._filename: str | None = None
        self._path: Path | None = None
        self._value = bytearray()
        self._size = 0

    def take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = _text(options.get(b"name", b""))
        if self._name not in self._names:
            known = ", ".join(sorted(self._names))
            wrong = self._wrong(f"Unknown here. Known are: {known}.", "unknown")
            raise InvalidRequest(errors=[wrong], headers=CLOSE)
        if b"filename" in options:
            self._filename = _text(options[b"filename"])
            self._begin_file()
        else:
            self._count_field()

    def take_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        limits = self._limits
        if self._size > (limits.field if self._filename is None else limits.file):
            most = f"{megabytes(limits.file)} per file, and {megabytes(limits.form)} in all,"
            said = f"At most {megabytes(limits.field) if self._filename is None else most} are taken here."
            raise TooLarge(errors=[self._wrong(said, "too-large")], headers=CLOSE)
        if self._filename is None:
            self._value += data[start:end]
        else:
            self._put_aside(data[start:end])

    def end_part(self) -> None:
        self._put_aside(b"", f"{self._name}\0{self._size}\0".encode())
        if self._filename is None:
            self._put_aside(b"", bytes(self._value))
            self.pairs.append((self._name, _text(self._value)))
        elif self._path is not None and (self._filename or self._size):
            # A browser sends an empty name and no bytes for a file nobody chose.
            media_type = self._headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
            upload = Upload(safe_name(self._filename), media_type[:LONGEST_NAME], self._size, self._path)
            self.pairs.append((self._name, upload))

    def end(self) -> None:
        self.ended = True

    async def flush(self) -> None:
        if self._writes:
            writes, self._writes, self.waiting = self._writes, [], 0
            await asyncio.to_thread(self._write, writes)

    async def discard(self) -> None:
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _begin_file(self) -> None:
        self._files += 1
        if self._files > self._limits.files:
            wrong = self._wrong(f"At most {self._limits.files} files are taken at once.", "too-many")
            raise InvalidRequest(errors=[wrong], headers=CLOSE)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="form-", dir=self._scratch))
        self._path = self._folder / str(self._files)
        self._put_aside(b"")

    def _count_field(self) -> None:
        self._fields += 1
        if self._fields > self._limits.fields:
            wrong = self._wrong(f"At most {self._limits.fields} fields are taken.", "too-many")
            raise InvalidRequest(errors=[wrong], headers=CLOSE)

    def _wrong(self, why: str, code: str) -> FieldError:
        return FieldError(pointer("/form", [self._name]), why, code)

    def _put_aside(self, data: bytes, mark: bytes | None = None) -> None:
        self._writes.append((None, mark) if mark is not None else (self._path, data))
        self.waiting += len(data)

    def _write(self, writes: list[tuple[Path | None, bytes]]) -> None:
        """In a thread, in order: one file is open at a time."""
        for path, data in writes:
            self.digest.update(data)
            if path is not None:
                with path.open("ab") as file:
                    file.write(data)


def safe_name(claimed: str) -> str:
    """What is left of a file's name without folders, control characters and marks that turn the writing direction."""
    last = re.split(r"[/\\]", claimed)[-1]
    visible = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")[:LONGEST_NAME].strip()
    return visible if visible.strip(".") else "file"


def _text(raw: bytes | bytearray) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed("The form holds a name or a field that is not UTF-8.") from None
