"""How fast the sandbox's time runs. Durations are written in fal's seconds and divided by the speed; the time of day,
and with it every signature timestamp, is always the real one."""

import time
from dataclasses import dataclass

now = time.time


@dataclass(frozen=True)
class Pace:
    speed: float = 1.0

    def real(self, seconds: float, at_least: float = 0.0) -> float:
        return max(seconds / self.speed, at_least)

    def after(self, seconds: float) -> float:
        return now() + self.real(seconds)
