"""The whole sandbox, put together: the one place where its parts meet."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.sandbox.fal import chaos
from app.sandbox.fal.catalogue import price_micro
from app.sandbox.fal.chaos import Chaos
from app.sandbox.fal.files import Files
from app.sandbox.fal.keys import Keys
from app.sandbox.fal.platform_api import Knobs
from app.sandbox.fal.queue import Queue
from app.sandbox.fal.references import References
from app.sandbox.fal.run import Workshop
from app.sandbox.fal.webhooks import Postman
from app.sandbox.log import Log
from app.sandbox.outage import Outage
from app.sandbox.pace import Pace
from app.sandbox.pictures.studio import Studio


@dataclass(frozen=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 9000
    chaos: str = ""
    speed: float = 1.0
    seed: int = 0
    data: Path | None = None
    runners: int = 10
    list_delay: float = 0.0
    with_parent: bool = False


class Box:
    def __init__(self, options: Options) -> None:
        self.options = options
        self._temporary = options.data is None
        self.folder = Path(tempfile.mkdtemp(prefix="fal-sandbox-")) if options.data is None else options.data
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pace = Pace(options.speed)
        self.log = Log(self.folder)
        self.keys = Keys(self.log)
        self.chaos = Chaos(self.log, options.seed, chaos.parse(options.chaos))
        self.files = Files(self.log, self.folder, self.chaos, self.pace)
        self.studio = Studio()
        self.web = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=200))
        self.references = References(self.files, self.web)
        self.postman = Postman(self.log, self.keys, self.chaos, self.pace, self.web)
        workshop = Workshop(self.log, self.files, self.studio, self.references, self.chaos, self.pace, options.seed)
        self.queue = Queue(self.log, self.pace, options.runners, workshop.work, price_micro)
        self.queue.on_end = self.postman.post
        self.outage = Outage()
        self.knobs = Knobs(options.list_delay)

    def start(self) -> None:
        self.queue.resume()
        self.postman.resume()

    async def close(self) -> None:
        self.outage.end()
        await self.queue.close()
        await self.postman.close()
        await self.web.aclose()
        self.studio.close()
        self.log.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
