"""The loop in CleanRL's manner for a work: what its one file is."""

from __future__ import annotations

from contenders import single_file_off_policy, single_file_ppo
from contenders.works import Work


def measure(work: Work, units: int, backend: str, accelerator: str) -> tuple[int, float]:
    family = single_file_off_policy if work.off_policy else single_file_ppo
    return family.measure(work, units, backend, accelerator)
