"""The health record: what readiness, liveness and the watchdog are read from.

Input: each flag has one writer. Output: what is wrong, in words. Out of bounds: acting on it.
"""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Health:
    """What /healthz and /readyz answer from; each flag has one writer.

    Attributes:
        beats: by name of a thread, the monotonic second at which it last made progress.
        patience_seconds: how long a thread that is well may make none.
        changed: the monotonic second since which it has been ready, or not.
    """

    engine_up: bool = False
    engine_away: bool = False
    engine_trouble: str = "not connected yet"
    inventory_complete: bool = False
    policies_loaded: bool = False
    beats: dict[str, float] = field(default_factory=dict)
    patience_seconds: float = 900.0
    changed: float = field(default_factory=time.monotonic)

    def __setattr__(self, name: str, value: object) -> None:
        """Set a flag, and note when that makes the daemon ready or ends it."""
        before = name in ("engine_up", "inventory_complete", "policies_loaded") and hasattr(self, "changed")
        was = before and not self.unready()
        super().__setattr__(name, value)
        if before and was != (not self.unready()):
            self.changed = time.monotonic()

    def progress(self) -> None:
        name = threading.current_thread().name
        if name in self.beats:
            self.beats[name] = time.monotonic()

    def stuck(self, now: float) -> list[str]:
        """Which threads have made no progress for too long; ``now`` is a monotonic second."""
        late = {name: now - beat for name, beat in list(self.beats.items()) if now - beat > self.patience_seconds}
        return [f"{name}: no progress for {seconds:.0f} s" for name, seconds in late.items()]

    def unready(self) -> list[str]:
        """Why the daemon is not ready, in words; empty when it is."""
        reasons = [] if self.engine_up else [f"engine: {self.engine_trouble}"]
        reasons += [] if self.inventory_complete else ["inventory: not listed yet"]
        return reasons + ([] if self.policies_loaded else ["policies: not loaded"])
