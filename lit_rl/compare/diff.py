"""Where two runs differ: settings, versions of libraries, and the first timestep at which their logs part."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lit_rl.compare.logs import STEP, read_rows
from lit_rl.compare.runs import RunRecord, read_run
from lit_rl.compare.settings import flattened, read_settings
from lit_rl.errors import DataError
from lit_rl.run.lineage import Lineage

BEGINNING = (
    "mode",
    "name",
    "resume",
    "warmstart",
    "requeue",
    "view",
    "pause_at",
    "ckpt_path",
    "trainer.default_root_dir",
)
"""Settings that say how a run begins and where it lies, and not what it learns."""
CLOCKS = "time/"
"""Columns measured with a clock, or counted beside it."""
Pair = tuple[str | None, str | None]


@dataclass
class Histories:
    """Two logs side by side, at the timesteps that both have.

    Args:
        compared: how many such timesteps there are.
        last_equal: the last before they part at which they are equal; `None` if there is none.
        parted_at: the first at which a metric differs; `None` if none does.
        metrics: the metrics that differ there, with both values.
        ends: the last timestep of each log.
        only_in: metrics that one log has and the other lacks, which are not compared.
    """

    compared: int = 0
    last_equal: int | None = None
    parted_at: int | None = None
    metrics: dict[str, Pair] = field(default_factory=dict)
    ends: tuple[int | None, int | None] = (None, None)
    only_in: tuple[list[str], list[str]] = ((), ())  # type: ignore[assignment]

    @property
    def equal(self) -> bool:
        """Whether nothing differs and both are of one length."""
        return self.parted_at is None and self.ends[0] == self.ends[1]


@dataclass
class Difference:
    """How two runs differ; values come in pairs, in the order of the runs, `None` where one has none.

    Args:
        runs: the runs.
        settings: by their keys, as JSON.
        beginning: the same for `BEGINNING`.
        versions: of libraries, in the last segment of each; and `hosts`, the machines.
        histories: their logs.
        problems: what could not be read.
    """

    runs: tuple[RunRecord, RunRecord]
    settings: dict[str, Pair]
    beginning: dict[str, Pair]
    versions: dict[str, Pair]
    histories: Histories
    problems: list[str]

    @property
    def equal(self) -> bool:
        """Whether settings, versions and histories are; how the runs began, and where, does not count."""
        return not (self.settings or self.versions or self.problems) and self.histories.equal

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"equal": self.equal, **asdict(self)}


def compare(a: Path, b: Path) -> Difference:
    """Two run directories; what cannot be read is a problem, and taken for empty."""
    problems: list[str] = []
    settings = [_or_empty(_settings, each, problems) for each in (a, b)]
    pairs = _pairs(*settings)
    beginning = {key: pair for key, pair in pairs.items() if _is_beginning(key)}
    versions = _pairs(*[_or_empty(_versions, each, problems) for each in (a, b)])
    logs = [_or_empty(_log, each, problems) for each in (a, b)]
    return Difference(
        runs=(read_run(a), read_run(b)),
        settings={key: pair for key, pair in pairs.items() if key not in beginning},
        beginning=beginning,
        versions=versions,
        histories=_histories(*logs),
        problems=problems,
    )


def _or_empty(read: Any, directory: Path, problems: list[str]) -> dict[Any, Any]:
    try:
        found: dict[Any, Any] = read(directory)
    except DataError as error:
        problems.append(str(error))
        return {}
    return found


def _settings(directory: Path) -> dict[str, str]:
    return flattened(read_settings(directory))


def _versions(directory: Path) -> dict[str, str]:
    segments = Lineage.read(directory).segments
    versions = segments[-1].versions if segments else {}
    return {str(name): str(value) for name, value in versions.items()} if isinstance(versions, dict) else {}


def _pairs(a: dict[str, str], b: dict[str, str]) -> dict[str, Pair]:
    return {
        key: (a.get(key), b.get(key)) for key in [*a, *(key for key in b if key not in a)] if a.get(key) != b.get(key)
    }


def _is_beginning(key: str) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in BEGINNING)


def _log(directory: Path) -> dict[int, dict[str, str]]:
    """Lines by timestep, without what a clock says and without what is empty."""
    rows = read_rows(directory)
    if not rows or STEP not in rows[0]:
        return {}
    header, at = rows[0], rows[0].index(STEP)
    found: dict[int, dict[str, str]] = {}
    for line in rows[1:]:
        if len(line) == len(header) and line[at].isdecimal():
            cells = {
                name: cell for name, cell in zip(header, line, strict=True) if cell and not name.startswith(CLOCKS)
            }
            found.setdefault(int(line[at]), {}).update(cells)
    return found


def _histories(a: dict[int, dict[str, str]], b: dict[int, dict[str, str]]) -> Histories:
    names_a, names_b = ({name for row in log.values() for name in row} for log in (a, b))
    shared = names_a & names_b
    steps = sorted(a.keys() & b.keys())
    found = Histories(
        compared=len(steps),
        ends=(max(a, default=None), max(b, default=None)),
        only_in=(sorted(names_a - names_b), sorted(names_b - names_a)),
    )
    for step in steps:
        pairs = _pairs(a[step], b[step])
        found.metrics = {name: pair for name, pair in pairs.items() if name in shared}
        if found.metrics:
            found.parted_at = step
            return found
        found.last_equal = step
    return found
