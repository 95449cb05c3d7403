"""A service that only accepts and takes in: nothing is worked on, so that whatever it writes belongs to what it was
asked. Jobs wait there for their webhooks, and the key that fal signs with is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.bench import letters
from tests.bench.row_http import Attempt, our_attempts
from tests.bench.servers import Server, key_set
from tests.inside import newcomer
from tests.running import ROOT, Sandbox, Service, running

_CREDITS = 10_000_000


@dataclass(frozen=True)
class Letterbox:
    service: Service
    signer: SigningKey
    waiting: Sequence[Attempt]

    def letter(self, attempt: Attempt) -> bytes:
        """Signed now; good for five minutes."""
        return letters.completion(attempt.path, attempt.request_id, self.signer)

    def newest_event(self) -> int:
        """Its number, in the one workspace there is."""
        assert self.service.settings
        engine = create_engine(self.service.settings.database, poolclass=NullPool)
        with engine.connect() as connection:
            newest = connection.execute(text("SELECT max(seq) FROM counters")).scalar_one()
        return int(newest)


@contextmanager
def letterbox(folder: Path, waiting: int = 0, *, code: Path = ROOT) -> Iterator[Letterbox]:
    """`code` is the root of the tree whose service it is."""
    signer = SigningKey.generate()
    folder.mkdir(parents=True)
    extra = {"DARKROOM_RUNNER": "none", "DARKROOM_FAL_USER_ID": letters.USER}
    with key_set(signer) as port:
        fal = Sandbox([], {}, folder / "fal.log", port=port)
        with running(folder, sandbox=fal, start=False, **extra) as service:  # type: ignore[arg-type]
            assert service.settings
            service.code = code
            service.key = newcomer(service.settings, _CREDITS)
            service.start()
            assert service.process
            server = Server(service.process.pid, service.port, service.settings.database, service.key, service)
            yield Letterbox(service, signer, our_attempts(server, waiting) if waiting else [])
