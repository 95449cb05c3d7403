"""The studio as a person meets it: what stands on the page, by its labels and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

WITHIN = 15_000.0


@dataclass
class Studio:
    """`complaints` is what the browser said was wrong; `tolerated` are the parts of it that a story is about."""

    page: Page
    tolerated: tuple[str, ...] = ()
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def open(self) -> Studio:
        self.page.goto("/")
        self.expect_state("live")
        expect(self.model).not_to_have_value("")
        return self

    @property
    def model(self) -> Locator:
        return self.page.get_by_label("Model", exact=True)

    @property
    def prompt(self) -> Locator:
        return self.page.get_by_label("Prompt", exact=True)

    def submit(self, prompt: str) -> None:
        self.prompt.fill(prompt)
        self.page.get_by_role("button", name="Make the picture").click()

    def card(self, prompt: str) -> Locator:
        """The newest card with that prompt."""
        return self.page.locator(".card", has=self.page.get_by_text(prompt, exact=True)).first

    def expect_status(self, card: Locator, status: str, within: float = WITHIN) -> None:
        expect(card).to_have_attribute("data-status", status, timeout=within)

    def expect_state(self, state: str, within: float = WITHIN) -> None:
        expect(self.page.locator("#connection")).to_have_attribute("data-state", state, timeout=within)

    def numbers(self) -> list[int]:
        """Those of the events in the list, oldest first."""
        shown = self.page.locator("#events li").evaluate_all("all => all.map(li => Number(li.dataset.seq))")
        return list(reversed(shown))

    def types(self) -> list[str]:
        shown = self.page.locator("#events li").evaluate_all("all => all.map(li => li.dataset.type)")
        return list(reversed(shown))

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(part in message.text for part in self.tolerated):
            self.complaints.append(message.text)
