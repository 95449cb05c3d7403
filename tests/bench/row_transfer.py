"""What it costs to make fal's file ours, decoding left out: fetched through the guarded fetcher, cleaned and hashed,
stored in a bucket; beside httpx and aioboto3's upload_fileobj. Source and bucket do nothing.
`python -m tests.bench.row_transfer VARIANT SITE BUCKET COUNT` is one round.

Over plain http botocore hashes what it uploads, which it does not over https: both sides pay that here.
"""

import asyncio
import hashlib
import json
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.commands.loop import run as run_loop
from tests.bench.machine import FIRST, Others, median, pinned, run
from tests.bench.stubs import said, stub
from tests.bench.table import Goal, Row, Size
from tests.running import ROOT

AT_ONCE, WARM = 16, 16
MB = 1_000_000
WHY = (
    "ours is written to disk twice and read three times, so that it can be cleaned before it is hashed and stored, and "
    "memory stays small; hashing alone is a quarter of it, and the SDK's own share is the same on both sides"
)
PEERS = {"lean": "httpx + upload_fileobj, lean, SHA-256", "stock": "httpx + upload_fileobj"}

Move = Callable[[int], Awaitable[str]]
"""Moves one picture and tells the digest of what was stored."""


@dataclass(frozen=True)
class Round:
    cpu_s_per_gb: float
    peak_mb: float


def transfer(size: Size, folder: Path) -> Iterator[Row]:
    """CPU for each GB, and memory for small pictures and large ones."""
    small, large = _picture(folder / "small.jpg", 1600), _picture(folder / "large.jpg", 1200 if size.tiny else 5000)
    count = size.of(150)
    with stub("bucket") as bucket, Others([]) as others:
        with stub("fal", str(small)) as site:
            rounds: dict[str, list[Round]] = {"ours": [], **{peer: [] for peer in PEERS}}
            for _ in range(size.rounds):
                for variant, done in rounds.items():
                    done.append(_measured(variant, site, bucket, count, small.stat().st_size))
        with stub("fal", str(large)) as site:
            large_one = _measured("ours", site, bucket, AT_ONCE, large.stat().st_size)
    ours = median(r.cpu_s_per_gb for r in rounds["ours"])
    twin = f"{count + WARM} stored in each round, each with the digest it was told to have"
    for peer, against in PEERS.items():
        theirs = median(r.cpu_s_per_gb for r in rounds[peer])
        goal = Goal(0.6, above=False) if peer == "lean" else None
        yield Row(
            "transfer", "CPU s/GB", ours, against, theirs, ours / theirs, theirs / ours, goal, others.cores, twin,
            {"picture_mb": small.stat().st_size / MB, "peak_mb": max(r.peak_mb for r in rounds[peer]), "why": WHY},
        )  # fmt: skip
    usual = median(r.peak_mb for r in rounds["ours"])
    yield Row(
        "transfer, memory",
        "MB",
        ours=large_one.peak_mb,
        against="itself, small pictures",
        baseline=usual,
        ratio=large_one.peak_mb / usual,
        goal=Goal(1.1, above=False),
        twin=twin,
        more={"picture_mb": [p.stat().st_size / MB for p in (small, large)], "at_once": AT_ONCE},
    )


def _picture(file: Path, side: int) -> Path:
    """Noise, of which a JPEG cannot leave much out."""
    noise = [Image.effect_noise((side, side), 60) for _ in range(3)]
    Image.merge("RGB", noise).save(file, "JPEG", quality=90)
    return file


def _measured(variant: str, site: int, bucket: int, count: int, each: int) -> Round:
    command = [sys.executable, "-m", "tests.bench.row_transfer", variant, str(site), str(bucket), str(count)]
    told = json.loads(run(pinned(FIRST, command), ROOT))
    stored = said(bucket)
    assert stored["objects"] == count + WARM
    if variant != "stock":  # which wraps a checksum into what it sends
        assert stored["digests"] == told["digests"], "something else was stored"
    return Round(told["cpu"] / (count * each / 1e9), told["peak_mb"])


async def _round(variant: str, site: int, bucket: int, count: int) -> dict[str, Any]:
    url, endpoint = f"http://127.0.0.1:{site}/picture", f"http://127.0.0.1:{bucket}"
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as open_:
            if variant == "ours":
                move = await _ours(open_, url, endpoint, Path(folder))
            else:
                move = await _peer(open_, url, endpoint, lean=variant == "lean")
            digests = await _each(move, range(WARM))
            before = _cpu()
            digests |= await _each(move, range(WARM, WARM + count))
            spent = _cpu() - before
    return {"cpu": spent, "peak_mb": _peak_mb(), "digests": sorted(digests)}


async def _each(move: Move, numbers: range) -> set[str]:
    coming, digests = iter(numbers), set()

    async def worker() -> None:
        for number in coming:
            digests.add(await move(number))

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return digests


async def _ours(open_: AsyncExitStack, url: str, endpoint: str, folder: Path) -> Move:
    """As `jobs.mirror` and `assets.keep` do it, without the darkroom's worker."""
    from app.adapters.fetch import GuardedFetcher
    from app.adapters.s3 import Bucket, S3Blobs
    from app.assets.containers import clean

    fetcher = GuardedFetcher(result_origin=url.removesuffix("/picture"))
    blobs = S3Blobs(Bucket("bench", "us-east-1", "key", "secret", endpoint))
    open_.push_async_callback(fetcher.close)
    open_.push_async_callback(blobs.close)

    async def move(number: int) -> str:
        file, picture = folder / f"{number}.result", folder / f"{number}.picture"
        await fetcher.fetch(url, file, purpose="result", max_bytes=200_000_000)
        cleaned = await asyncio.to_thread(clean, file, picture, mark=True)
        await blobs.put(f"w/{number}", picture, content_type=cleaned.kind.value)
        file.unlink()
        picture.unlink()
        return cleaned.digest.sha256

    return move


async def _peer(open_: AsyncExitStack, url: str, endpoint: str, *, lean: bool) -> Move:
    """`lean` leaves out the checksums and signatures that are not needed, and hashes as we do."""
    import aioboto3
    import httpx
    from botocore.config import Config

    sparing = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    config = Config(
        max_pool_connections=32,
        s3={"addressing_style": "path", **({"payload_signing_enabled": False} if lean else {})},
        **(sparing if lean else {}),
    )
    web = await open_.enter_async_context(httpx.AsyncClient(limits=httpx.Limits(max_connections=32), trust_env=False))
    session = aioboto3.Session("key", "secret", region_name="us-east-1")
    s3 = await open_.enter_async_context(session.client("s3", endpoint_url=endpoint, config=config))

    async def move(number: int) -> str:
        sha = hashlib.sha256()
        async with web.stream("GET", url) as response:
            with tempfile.SpooledTemporaryFile(max_size=8 << 20) as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
                    if lean:
                        sha.update(chunk)
                file.seek(0)
                await s3.upload_fileobj(file, "bench", f"w/{number}")
        return sha.hexdigest()

    return move


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_mb() -> float:
    """Of this program: what getrusage tells began with the memory of whoever started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    chosen, *given = sys.argv[1:]
    print(json.dumps(run_loop(_round(chosen, *map(int, given)))))
