"""One request to the queue: what was asked, where it stands, and how it ended. The row of the log's main table."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Submission:
    id: str
    ordinal: int  # how many paid requests the sandbox had accepted before this one
    account: str  # a name for the key; the key itself is never written down
    user: str  # fal's id of that account, as signed webhooks carry it
    endpoint: str
    input: str  # the exact JSON text
    digest: str  # same account, endpoint and input, whatever the seed: same digest
    origin: str  # scheme and host by which the caller reached us; answers use it
    submitted: float
    gateway_id: str
    webhook: str | None = None
    priority: int = 0  # 1 is low
    start_by: float | None = None
    keep: bool = True  # X-Fal-Store-IO
    file_life: float | None = None
    chaos: list[str] = field(default_factory=list)

    state: str = "queued"  # queued, running, completed, cancelled
    started: float | None = None
    ended: float | None = None
    duration: float = 0.0  # real seconds the run is meant to take

    status_code: int | None = None
    output: str | None = None  # the exact JSON text of the result
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    outcome: str = ""  # ok, refused, failed, timeout, cancelled
    units: float = 0.0
    cost_micro: int = 0
    files: list[str] = field(default_factory=list)  # sha256 of each output
    result_until: float | None = None
    webhook_until: float | None = None
    webhook_state: str = "none"  # none, due, done, lost, dead

    @property
    def done(self) -> bool:
        return self.state in ("completed", "cancelled")

    @property
    def arguments(self) -> dict[str, Any]:
        value = json.loads(self.input)
        return value if isinstance(value, dict) else {}

    @property
    def prompt(self) -> str:
        return str(self.arguments.get("prompt") or "")

    @property
    def urls(self) -> dict[str, str]:
        base = f"{self.origin}/{app_root(self.endpoint)}/requests/{self.id}"
        return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def app_root(endpoint: str) -> str:
    """Fal's reads use owner/app only; two namespaces keep one more segment."""
    parts = endpoint.split("/")
    return "/".join(parts[: 3 if parts[0] in ("workflows", "comfy") else 2])


def digest_of(account: str, endpoint: str, arguments: object) -> str:
    if isinstance(arguments, dict):
        arguments = {name: value for name, value in arguments.items() if name != "seed"}
    text = json.dumps([account, endpoint, arguments], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
