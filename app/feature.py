"""What a slice declares to the world. Wiring reads these and nothing else: routes, tasks, schedules, state machines,
events, reactions and tables of the whole service are the sum of the features in one written-out tuple."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.events import Event
from app.core.lifecycle import Lifecycle
from app.services import Services
from app.store.tasks import Task
from app.web.operation import Door, Operation

TaskHandler = Callable[[Services, Task], Awaitable[None]]


@dataclass(frozen=True)
class Schedule:
    """Something done again and again, by one process at a time. `every` is in seconds of the service's own pace."""

    name: str
    every: float
    handler: TaskHandler


@dataclass(frozen=True)
class Found:
    """What a check looked at, and what it found wrong, a sentence each. `notes` break no promise, but a person should
    know."""

    looked: int
    violations: Sequence[str]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Check:
    """Something that must hold at any time and can be recomputed: a line of `darkroom verify`."""

    name: str
    promise: str
    find: Callable[[Services], Awaitable[Found]]


@dataclass(frozen=True)
class Feature:
    """One slice. `parked` is told when one of its tasks was set aside for good, so that whoever waits for it can be
    told. `reactions` fire for events of runs whose workflow is this feature's `name`, each as a task of its own;
    `doors` are the addresses that must see raw bytes (webhooks)."""

    name: str
    operations: tuple[Operation, ...] = ()
    doors: tuple[Door, ...] = ()
    tasks: Mapping[str, TaskHandler] = field(default_factory=dict)
    parked: TaskHandler | None = None
    schedules: tuple[Schedule, ...] = ()
    lifecycles: tuple[Lifecycle, ...] = ()  # type: ignore[type-arg]  # each has its own state enum
    events: tuple[type[Event], ...] = ()
    reactions: Mapping[type[Event], TaskHandler] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
