"""Reads the signature of a handler: what it wants to be given, and what it may answer.

Parameters are filled by name: `body`, `form`, `query` (models), each name in the path (str), and the values below.
The return annotation is a model, a `Reply` of one, `Download`, `Redirect`, a `Stream`, None, or a union of those.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel, TypeAdapter

from app.web.answers import Download, Redirect, Reply, Stream

PLACEHOLDER = re.compile(r"\{([a-z_]+)(?::path)?\}")
"""`{name:path}` stands last, and takes in slashes too."""
FROM_HEADERS = frozenset({"wait", "last_event_id", "accept", "prefetch", "range", "if_none_match"})
PLAIN = FROM_HEADERS | {"services", "principal", "idempotency"}


@dataclass(frozen=True)
class Part:
    """A model that part of the request must fit. When `optional`, nothing at all is an answer too. `names` are those a
    query or a form may hold, and whether each may come more than once.
    """

    type: Any
    adapter: TypeAdapter[Any]
    optional: bool
    names: Mapping[str, bool]

    @property
    def model(self) -> type[BaseModel]:
        assert isinstance(self.type, type)
        assert issubclass(self.type, BaseModel)
        return self.type

    @property
    def needs_file(self) -> bool:
        """Whether a form cannot do without a file."""
        fields = self.model.model_fields.values()
        return any(field.is_required() and "Upload" in str(field.annotation) for field in fields)

    @property
    def without_files(self) -> Part:
        """The same as a JSON object sends it, which can hold no file."""
        fields = self.model.model_fields.items()
        files = {field.alias or name for name, field in fields if "Upload" in str(field.annotation)}
        return replace(self, names={name: many for name, many in self.names.items() if name not in files})


@dataclass(frozen=True)
class Answers:
    """What may come back. `model` is the type of the JSON, if there is any; `kinds` are classes that are no JSON."""

    model: Any
    adapter: TypeAdapter[Any] | None
    kinds: frozenset[type]
    empty: bool

    @property
    def streams(self) -> bool:
        return any(issubclass(kind, Stream) for kind in self.kinds)


@dataclass(frozen=True)
class Contract:
    """What one handler takes and gives. `plain` are the parameters that are neither models nor parts of the path."""

    body: Part | None
    form: Part | None
    query: Part | None
    path: tuple[str, ...]
    plain: frozenset[str]
    principal: Literal["needed", "welcome", "ignored"]
    answer: Answers

    @property
    def idempotency(self) -> bool:
        return "idempotency" in self.plain


def contract_of(handler: Callable[..., Any], path: str) -> Contract:
    """The contract in a handler's signature.

    Raises:
        TypeError: a parameter cannot be filled, a name in the path is not taken, or an annotation says nothing useful.

    """
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"{path}: {handler!r} is no coroutine function")
    where = f"{handler.__module__}.{handler.__name__}"
    hints = get_type_hints(handler, include_extras=True)
    ids = placeholders(path)
    _check_names(where, path, hints, tuple(inspect.signature(handler).parameters), ids)
    return Contract(
        body=_part(where, hints.get("body")),
        form=_part(where, hints.get("form"), flat=True),
        query=_part(where, hints.get("query"), flat=True),
        path=ids,
        plain=PLAIN & hints.keys(),
        principal=_principal(hints.get("principal")),
        answer=_answers(where, hints["return"]),
    )


def placeholders(path: str) -> tuple[str, ...]:
    return tuple(PLACEHOLDER.findall(path))


def _check_names(where: str, path: str, hints: dict[str, Any], names: tuple[str, ...], ids: tuple[str, ...]) -> None:
    if missing := set(ids) - set(names):
        raise TypeError(f"{where}: {path} names {', '.join(sorted(missing))}, which the handler does not take")
    for name in names:
        if name not in PLAIN and name not in ids and name not in {"body", "form", "query"}:
            raise TypeError(f"{where}: nothing fills the parameter {name}")
        if name not in hints:
            raise TypeError(f"{where}: {name} has no annotation")
    if any(hints[name] is not str for name in ids):
        raise TypeError(f"{where}: what comes from the path is a str")
    if "body" in names and "form" in names:
        raise TypeError(f"{where}: a request has a body or a form, not both")
    if "return" not in hints:
        raise TypeError(f"{where}: it does not say what it returns")


def _part(where: str, annotation: Any, *, flat: bool = False) -> Part | None:
    if annotation is None:
        return None
    options = _options(annotation)
    optional = NoneType in options and not flat
    wanted = reduce(or_, [option for option in options if option is not NoneType]) if optional else annotation
    model = isinstance(wanted, type) and issubclass(wanted, BaseModel)
    if flat and not model:
        raise TypeError(f"{where}: a query or a form is one model")
    if model and not issubclass(wanted, RootModel) and wanted.model_config.get("extra") != "forbid":
        raise TypeError(f'{where}: {wanted.__name__} comes from outside, so it needs extra="forbid"')
    fields = wanted.model_fields.items() if model else ()
    names = {field.alias or name: _is_list(field.annotation) for name, field in fields}
    return Part(wanted, TypeAdapter(wanted), optional, names)


def _is_list(annotation: Any) -> bool:
    return any((get_origin(option) or option) in {list, tuple, set, frozenset} for option in _options(annotation))


def _principal(annotation: Any) -> Literal["needed", "welcome", "ignored"]:
    if annotation is None:
        return "ignored"
    return "welcome" if NoneType in _options(annotation) else "needed"


def _answers(where: str, annotation: Any) -> Answers:
    models: list[Any] = []
    kinds: set[type] = set()
    for option in _options(annotation):
        kind = get_args(option)[0] if get_origin(option) is Reply else option
        if kind is Reply:
            raise TypeError(f"{where}: Reply of what?")
        if isinstance(kind, type) and _is_no_json(kind):
            kinds.add(kind)
        else:
            models.append(kind)
    empty = NoneType in models
    models = [model for model in models if model is not NoneType]
    if not models:
        return Answers(None, None, frozenset(kinds), empty)
    union = reduce(or_, models)
    return Answers(union, TypeAdapter(union), frozenset(kinds), empty)


def _is_no_json(kind: type) -> bool:
    return issubclass(kind, Download | Redirect) or issubclass(kind, Stream)


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the one type there is."""
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
