"""One run of a model: check the input, fetch the references, paint, take the time a model takes, keep the files."""

import asyncio
import base64
import random
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from app.sandbox import room
from app.sandbox.fal import inputs, outcomes, shapes, spells
from app.sandbox.fal.catalogue import MODELS, Model
from app.sandbox.fal.chaos import Chaos
from app.sandbox.fal.files import Files
from app.sandbox.fal.inputs import Input
from app.sandbox.fal.outcomes import Outcome
from app.sandbox.fal.references import References, Unreadable
from app.sandbox.fal.sizes import size_of, units_of
from app.sandbox.fal.submission import Submission
from app.sandbox.log import Log
from app.sandbox.pace import Pace, now
from app.sandbox.pictures.studio import Studio
from app.sandbox.pictures.values import BadPicture, Order, Picture

QUICK = 0.4  # fal's seconds until an input is found wanting


@dataclass(frozen=True)
class Run:
    """What is known of one run while it lasts."""

    sub: Submission
    model: Model
    words: dict[str, str]
    began: float


@dataclass(frozen=True)
class Workshop:
    log: Log
    files: Files
    studio: Studio
    references: References
    chaos: Chaos
    pace: Pace
    seed: int

    async def work(self, sub: Submission) -> Outcome:
        run = Run(sub, MODELS[sub.endpoint], spells.spells_in(sub.prompt), time.monotonic())
        sub.duration = 0.0 if "early" in sub.chaos else self.pace.real(self._seconds(run))
        outcome = await self._outcome(run)
        await _until(run, self.pace.real(QUICK) if outcome.status == 422 else sub.duration)
        return outcome

    def _seconds(self, run: Run) -> float:
        if "slow" in run.words:
            return spells.number(run.words["slow"], 20.0)
        jitter = random.Random(f"{self.seed}/run/{run.sub.ordinal}").lognormvariate(0.0, 0.18)
        return run.model.seconds * min(jitter, 2.0)

    async def _outcome(self, run: Run) -> Outcome:
        try:
            given = run.model.input.model_validate_json(run.sub.input)
        except ValidationError as error:
            return inputs.faults(error)
        failures = "SELECT count(*) FROM requests WHERE digest = ? AND outcome = 'failed'"
        if end := spells.spoken_end(run.words, given.prompt, self.log.scalar(failures, run.sub.digest)):
            return end
        if "completed_but_422" in run.sub.chaos:
            self.chaos.fired("completed_but_422")
            return spells.no_media(given.prompt)
        try:
            return await self._pictures(run, given)
        except Unreadable as problem:
            return _at_fault(given, problem.url, problem.kind, str(problem))
        except BadPicture as problem:
            return _at_fault(given, _sources(given)[problem.which], problem.kind, str(problem), problem.ctx)

    async def _pictures(self, run: Run, given: Input) -> Outcome:
        order = await self._order(run, given)
        numbers = range(given.num_images)
        made = [one for number in numbers for one in await self.studio.make(replace(order, seed=order.seed + number))]
        await _until(run, run.sub.duration)
        seconds = time.monotonic() - run.began
        shown = [await room.once_there_is_room(partial(self._keep, run, given, picture)) for picture in made]
        said = run.words.get("seed", "")
        seed = int(said) if said.isdigit() else order.seed
        facts = shapes.Facts(given.prompt, seed, seconds, order.black, bare="no_size" in run.words)
        return outcomes.success(shapes.answer(run.model, shown, facts), units_of(run.model, given, made, seconds))

    async def _order(self, run: Run, given: Input) -> Order:
        seed = given.seed
        if seed is None:  # fal has been seen to draw seeds beyond signed 64 bits
            seed = random.Random(f"{self.seed}/seed/{run.sub.ordinal}").getrandbits(64)
        fetched = [await self.references.fetch(url, run.sub.origin) for url in _sources(given)]
        masked = given.mask() is not None
        checks = run.model.shape in ("flux", "flux_pro") and getattr(given, "enable_safety_checker", True)
        return Order(
            deed=run.model.deed,
            model=run.sub.endpoint,
            prompt=given.prompt,
            seed=seed,
            kind=given.output_format,
            size=size_of(given),
            references=tuple(fetched[:-1] if masked else fetched),
            mask=fetched[-1] if masked else None,
            factor=getattr(given, "upscale_factor", 1.0),
            with_mask=getattr(given, "output_mask", False),
            black=checks and "nsfw" in run.words,
        )

    def _keep(self, run: Run, given: Input, picture: Picture) -> shapes.Shown:
        sub, kind = run.sub, picture.content_type
        life = 0.0 if "gone" in run.words else sub.file_life
        with self.log.together():
            stored = self.files.keep(picture.data, kind, life=life, request_id=sub.id)
            self._write_down(run, given, picture, stored.sha256)
        self.files.spoil(stored.path, sub.chaos)
        sub.files.append(stored.sha256)
        origin = _other_name(sub.origin) if "elsewhere" in run.words else sub.origin
        url = f"{origin}/files/{stored.path}"
        if given.sync_mode:
            url = f"data:{kind};base64,{base64.b64encode(picture.data).decode()}"
        return shapes.Shown(url, kind, stored.path.rpartition("/")[2], stored.size, picture.width, picture.height)

    def _write_down(self, run: Run, given: Input, picture: Picture, sha256: str) -> None:
        common: dict[str, Any] = {
            "request_id": run.sub.id,
            "sha256": sha256,
            "width": picture.width,
            "height": picture.height,
        }
        for box in picture.boxes:
            self.log.add("boxes", **common, name=box.name, x=box.x, y=box.y, w=box.w, h=box.h, time=now())
        looks = {"likeness": picture.likeness, "thumb": picture.thumb}
        self.log.add("pictures", **common, **looks, prompt=given.prompt, model=run.sub.endpoint)


async def _until(run: Run, seconds: float) -> None:
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - run.began)))


def _sources(given: Input) -> list[str]:
    """Every URL of the input: references first, the mask last."""
    mask = given.mask()
    return [*given.references(), *([] if mask is None else [mask])]


def _at_fault(given: Input, url: str, kind: str, message: str, ctx: dict[str, object] | None = None) -> Outcome:
    """A refusal that says by which input the URL came in."""
    listed: list[str] = getattr(given, "image_urls", [])
    where: list[str | int] = ["body", "mask_url" if url == given.mask() else "image_url"]
    if listed:
        where = ["body", "image_urls", next((at for at, one in enumerate(listed) if one.startswith(url)), 0)]
    return outcomes.refusal(outcomes.detail(kind, message, where, url, ctx))


def _other_name(origin: str) -> str:
    here, there = ("127.0.0.1", "localhost") if "127.0.0.1" in origin else ("localhost", "127.0.0.1")
    return origin.replace(here, there)
