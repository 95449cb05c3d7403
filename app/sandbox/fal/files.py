"""fal's file storage: outputs and uploads, kept by content, served without a key, gone when they expire."""

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from app.sandbox.fal.chaos import BAD_DOWNLOADS, Chaos
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now
from app.sandbox.wire import cut

TRICKLES, TRICKLE_PAUSE = 10, 3.0
ENDINGS = {"image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}


@dataclass(frozen=True)
class Stored:
    path: str
    sha256: str
    size: int


class Files:
    def __init__(self, log: Log, folder: Path, chaos: Chaos, pace: Pace) -> None:
        self._log, self._folder, self._chaos, self._pace = log, folder / "files", chaos, pace
        self._folder.mkdir(exist_ok=True)
        self._faults: dict[str, list[str]] = {}
        self._downloads: Counter[str] = Counter()

    def keep(
        self,
        data: bytes,
        content_type: str,
        name: str = "",
        life: float | None = None,
        *,
        request_id: str = "",
        path: str = "",
    ) -> Stored:
        """Under a new path, or one that was promised; the bytes themselves are kept once."""
        sha = hashlib.sha256(data).hexdigest()
        if not (self._folder / sha).exists():
            passing = self._folder / f"{sha}.{secrets.token_hex(4)}"
            try:
                passing.write_bytes(data)
                passing.replace(self._folder / sha)
            finally:
                passing.unlink(missing_ok=True)  # half of it on a full disk would make it fuller with every try
        path = path or self.path_for(f"{sha[:2]}/{secrets.token_urlsafe(16)}", content_type, name)
        self._log.add(
            "files",
            path=path,
            sha256=sha,
            content_type=content_type,
            size=len(data),
            name=name or path.rpartition("/")[2],
            created=now(),
            expires=None if life is None else self._pace.after(life),
            request_id=request_id,
        )
        return Stored(path, sha, len(data))

    def path_for(self, stem: str, content_type: str, name: str) -> str:
        return f"{stem}.{ENDINGS.get(content_type) or Path(name).suffix.lstrip('.') or 'bin'}"

    def spoil(self, path: str, faults: list[str]) -> None:
        """The next downloads of this file go wrong in these ways."""
        if wanted := [name for name in faults if name in ("slow_cdn", "truncated")]:
            self._faults[path] = wanted

    def read(self, path: str) -> bytes | None:
        row = self._row(path)
        return None if row is None else (self._folder / str(row["sha256"])).read_bytes()

    def forget(self, request_id: str) -> list[str]:
        paths = [row["path"] for row in self._log.rows("SELECT path FROM files WHERE request_id = ?", request_id)]
        self._log.change("UPDATE files SET expires = 0 WHERE request_id = ?", request_id)
        return paths

    async def serve(self, request: Request) -> Response:
        path = request.path_params["path"]
        row = self._row(path)
        if row is None:
            return PlainTextResponse("Not Found", 404)
        file, kind = self._folder / str(row["sha256"]), str(row["content_type"])
        self._log.count("files.served")
        if request.method == "GET" and (faults := self._faults.get(path)):
            self._downloads[path] += 1
            if self._downloads[path] >= BAD_DOWNLOADS:
                del self._faults[path]
            return self._badly(request, file.read_bytes(), kind, faults)
        headers = {"Cache-Control": "public, max-age=31536000", "Access-Control-Allow-Origin": "*"}
        return FileResponse(file, media_type=kind, headers=headers)

    def _badly(self, request: Request, data: bytes, kind: str, faults: list[str]) -> Response:
        for name in faults:
            self._chaos.fired(name)
        pause = self._pace.real(TRICKLE_PAUSE) if "slow_cdn" in faults else 0.0
        size = max(1, -(-len(data) // TRICKLES))
        pieces = [data[at : at + size] for at in range(0, len(data), size)]

        async def body() -> AsyncIterator[bytes]:
            for number, piece in enumerate(pieces):
                if "truncated" in faults and number >= len(pieces) // 2:
                    await asyncio.sleep(0.01)  # let what was written leave before the connection goes
                    await cut(request)
                    return
                yield piece
                await asyncio.sleep(pause)

        return StreamingResponse(body(), media_type=kind, headers={"Content-Length": str(len(data))})

    def _row(self, path: str) -> dict[str, object] | None:
        found = self._log.rows("SELECT * FROM files WHERE path = ? AND (expires IS NULL OR expires > ?)", path, now())
        return found[0] if found else None
