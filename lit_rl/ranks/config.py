"""What the `ranks` block of a run's YAML says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lit_rl.ops.limits import at_least, check_record


@dataclass
class RanksConfig:
    """How long the ranks of a run wait for each other; one process alone waits for nobody.

    Args:
        patience_s: a rank whose heart has stopped beating for this long is lost, unless it is seen to compute. One that
            has ended or was stopped (SIGSTOP) is found within 15 seconds by ranks on its machine, whatever stands here.
        start_timeout_s: so long are ranks waited for that have not started yet.
    """

    LIMITS: ClassVar = dict.fromkeys(("patience_s", "start_timeout_s"), at_least(1, infinite=True))

    patience_s: float = 60.0
    start_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        check_record(self, "ranks")
