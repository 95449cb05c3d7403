"""The schemas of everything that is sent or answered, each model once and under a name that is legal in OpenAPI."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from app.core.events import Event
from app.web.operation import Operation

REF = "#/components/schemas/{model}"
Key = tuple[str, str]

PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "What went wrong (RFC 9457). Kinds of problem may add members of their own.",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where this kind is explained."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened this time, and what would help."},
        "code": {"type": "string", "description": "The machine word for this kind of problem."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "request_id": {"type": "string", "description": "Also in X-Request-Id; name it when you ask for help."},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
    },
}
FIELD_ERROR: Mapping[str, Any] = {
    "type": "object",
    "title": "FieldError",
    "description": "One wrong place in the request.",
    "required": ["pointer", "detail", "code"],
    "properties": {
        "pointer": {"type": "string", "format": "json-pointer", "examples": ["/body/input/prompt"]},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


class _Names(GenerateJsonSchema):
    """`Page[JobView]` becomes `PageJobView`."""

    def normalize_name(self, name: str) -> str:
        return re.sub(r"[^A-Za-z0-9_.-]", "", name).replace(".", "__")


class Schemas:
    """Built once from all operations and events.

    Raises:
        ValueError: a model has the name of one of the schemas that are ours.

    """

    def __init__(self, operations: Sequence[Operation], events: Sequence[type[Event]]) -> None:
        inputs = [entry for operation in operations for entry in _inputs(operation)]
        inputs += [(("event", event.__name__), "serialization", event.__pydantic_core_schema__) for event in events]
        found, definitions = _Names(ref_template=REF).generate_definitions(inputs)
        components: dict[str, Any] = {str(name): schema for name, schema in definitions.items()}
        self._found = {key: schema for (key, _), schema in found.items()}
        queries = {_name(self._found[operation.id, "query"]) for operation in operations if operation.contract.query}
        self._queries = {name: _without_null(components.pop(name)) for name in sorted(queries)}
        forms = {_name(self._found[operation.id, "form"]) for operation in operations if operation.contract.form}
        components |= {name: _without_null(components[name]) for name in sorted(forms)}
        ours = {"Problem": dict(PROBLEM), "FieldError": dict(FIELD_ERROR)} | self._frames(events)
        if taken := ours.keys() & components.keys():
            raise ValueError(f"these names are taken: {', '.join(sorted(taken))}")
        self.components: dict[str, Any] = dict(sorted((components | ours).items()))

    def of(self, operation: Operation, part: str) -> dict[str, Any]:
        return self._found[operation.id, part]

    def query(self, operation: Operation) -> dict[str, Any]:
        """The query's own schema: its fields become parameters, so it is no component."""
        return self._queries[_name(self.of(operation, "query"))] if operation.contract.query else {}

    def without_files(self, operation: Operation) -> dict[str, Any] | None:
        """A form as the JSON object it may be when it holds no file; None when it cannot do without one."""
        form = operation.contract.form
        if form is None or form.needs_file:
            return None
        whole = self.components[_name(self.of(operation, "form"))]
        plain = {n: field for n, field in whole["properties"].items() if "binary" not in json.dumps(field)}
        return {"type": "object", "properties": plain, "additionalProperties": False}

    def example(self, schema: Mapping[str, Any]) -> Any:
        """The first example of a schema or of the component it points to."""
        target = self.components.get(_name(schema), schema)
        return next(iter(target.get("examples", ())), None)

    def _frames(self, events: Sequence[type[Event]]) -> dict[str, Any]:
        """One schema per event as it stands in a stream, and `Event`, the closed union of them."""
        if not events:
            return {}
        frames = {f"{event.__name__}Event": _frame(event, self._found["event", event.__name__]) for event in events}
        refs = {event.type: REF.format(model=f"{event.__name__}Event") for event in events}
        union = {
            "title": "Event",
            "description": "What stands in the `data:` line of a stream's frame. `type` says which.",
            "oneOf": [{"$ref": ref} for ref in refs.values()],
            "discriminator": {"propertyName": "type", "mapping": refs},
        }
        return frames | {"Event": union}


def _inputs(operation: Operation) -> list[tuple[Key, JsonSchemaMode, Any]]:
    contract = operation.contract
    asked = {"body": contract.body, "form": contract.form, "query": contract.query}
    inputs: list[tuple[Key, JsonSchemaMode, Any]] = [
        ((operation.id, name), "validation", part.adapter.core_schema)
        for name, part in asked.items()
        if part is not None
    ]
    if contract.answer.adapter is not None:
        inputs.append(((operation.id, "answer"), "serialization", contract.answer.adapter.core_schema))
    return inputs


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _without_null(model: Mapping[str, Any]) -> dict[str, Any]:
    """Queries and forms know no null: what may be none is what may be left out."""
    fields = {name: _some(field) for name, field in model.get("properties", {}).items()}
    return {**model, "properties": fields}


def _some(field: Mapping[str, Any]) -> dict[str, Any]:
    options = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == len(field.get("anyOf", ())):
        return dict(field)
    rest = {key: value for key, value in field.items() if key not in {"anyOf", "default"}}
    return rest | (options[0] if len(options) == 1 else {"anyOf": options})


def _frame(event: type[Event], data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": f"{event.__name__}Event",
        "required": ["seq", "type", "time", "job", "run", "data"],
        "properties": {
            "seq": {"type": "integer", "minimum": 1, "description": "Its number, dense within the workspace."},
            "type": {"type": "string", "const": event.type},
            "time": {"type": "string", "format": "date-time"},
            "job": {"type": ["string", "null"]},
            "run": {"type": ["string", "null"]},
            "data": dict(data),
        },
    }
