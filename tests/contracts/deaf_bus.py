"""A bus that loses everything: whatever arrives with it would arrive with any other, only later."""

from collections.abc import Callable, Collection


class DeafBus:
    async def open(self) -> None: ...

    def nudge(self, topics: Collection[str]) -> None: ...

    def listen(self, hear: Callable[[str], None]) -> Callable[[], None]:
        return lambda: None

    async def check(self) -> None: ...

    async def close(self) -> None: ...
