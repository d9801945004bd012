"""`verify-checkpoint`: is a checkpoint whole, or every checkpoint of a run."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_rl.checkpoint.manifest import LIGHTNING_FILE, MANIFEST, Checkpoint, missing_files, rank_file, read_checkpoint
from lit_rl.checkpoint.reader import open_file, with_rows
from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.compare.find import path_or_run
from lit_rl.errors import EXIT_DATA, EXIT_OK, ConfigError, DataError, NotFinite
from lit_rl.run.directory import CHECKPOINTS, LINEAGE
from lit_rl.run.wanted import DEFAULT_ROOT
from lit_rl.state.parts import by_part, check_finite
from lit_rl.state.plain import digest
from lit_rl.training.contract import Algorithm

SUMMARY = "check that a checkpoint, or every one of a run, is whole"
ORDER = 60


@dataclass
class Verdict:
    """What was found out about one checkpoint: a line for each file and each part.

    Args:
        path: the checkpoint.
        files: by name, `None` where it is good and else what is wrong.
        parts: by name, the sha256 of its content.
        problems: what is wrong beyond a single file.
    """

    path: Path
    files: dict[str, str | None] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems and all(problem is None for problem in self.files.values())

    def lines(self) -> list[str]:
        """For people."""
        width = max(map(len, [*self.files, *self.parts]), default=0)
        lines = [f"{self.path}: {'good' if self.good else 'DAMAGED'}"]
        lines += [f"  {name:<{width}}  {problem or 'good'}" for name, problem in self.files.items()]
        lines += [f"  {name:<{width}}  {value[:16]}" for name, value in self.parts.items()]
        return lines + [f"  {problem}" for problem in self.problems]

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "path": str(self.path),
            "good": self.good,
            "files": {name: problem or "good" for name, problem in self.files.items()},
            "parts": self.parts,
            "problems": self.problems,
        }


def main(argv: list[str]) -> int:
    """Run ``lit-rl verify-checkpoint``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl verify-checkpoint",
        description="Check every digest, open every part, and look for numbers that are not finite. Exit code 0 where "
        "all is good, 65 where something is not.",
    )
    parser.add_argument("path", help="a checkpoint, or a run (its directory, or its name) for every checkpoint in it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    verdicts = [judge(each) for each in _checkpoints(arguments.path)]
    good = all(verdict.good for verdict in verdicts)
    if arguments.json:
        print(json.dumps({"good": good, "checkpoints": [verdict.plain() for verdict in verdicts]}, indent=2))
    else:
        print("\n".join(line for verdict in verdicts for line in verdict.lines()))
    return EXIT_OK if good else EXIT_DATA


def _checkpoints(wanted: str) -> list[Path | Checkpoint]:
    """The checkpoints that a path names, oldest first; directories without a readable manifest come before."""
    if "://" in wanted:
        raise ConfigError(f"verify-checkpoint: '{wanted}' is a remote address; copy it to a local directory first.")
    path = Path(path_or_run(wanted, DEFAULT_ROOT))
    if not path.exists():
        raise ConfigError(f"verify-checkpoint: '{wanted}' is not there, as a path or as a run below {DEFAULT_ROOT}.")
    if path.name in (LIGHTNING_FILE, MANIFEST) and path.is_file():
        path = path.parent
    if path.is_file():
        raise ConfigError(f"verify-checkpoint: '{wanted}' is a bare file, with no digests to check it against.")
    if (path / CHECKPOINTS).is_dir() or (path / LINEAGE).exists():
        path = path / CHECKPOINTS
    elif (path / LIGHTNING_FILE).exists() or (path / MANIFEST).exists() or path.name != CHECKPOINTS:
        return [path.resolve()]
    store = CheckpointStore(path)
    known = store.inventory().checkpoints[::-1]
    others = [place for place in store.places() if place not in {checkpoint.path for checkpoint in known}]
    if not known and not others:
        raise DataError(f"{path} holds no checkpoint.")
    return [*others, *known]


def judge(where: Path | Checkpoint) -> Verdict:
    """Open a checkpoint as far as it can be opened: a directory, or one whose manifest has been read."""
    verdict = Verdict(where if isinstance(where, Path) else where.path)
    try:
        checkpoint = read_checkpoint(where) if isinstance(where, Path) else where
        verdict.files[MANIFEST] = None
    except DataError as error:
        verdict.files[MANIFEST] = str(error)
        return verdict
    opened: dict[str, Any] = {}
    for name in checkpoint.manifest.files:
        try:
            opened[name] = open_file(checkpoint, name)
            verdict.files[name] = None
        except DataError as error:
            verdict.files[name] = str(error)
    verdict.files |= dict.fromkeys(missing_files(checkpoint.manifest), f"is not listed in {MANIFEST}")
    if verdict.good:
        _judge_parts(verdict, opened, checkpoint)
    return verdict


def _judge_parts(verdict: Verdict, opened: dict[str, Any], checkpoint: Checkpoint) -> None:
    world_size, lightning = checkpoint.manifest.world_size, opened[LIGHTNING_FILE]
    try:
        ranks = [with_rows(checkpoint, opened[rank_file(rank)]) for rank in range(world_size)]
        parts = by_part(lightning, ranks)
        of_run, of_ranks = lightning["lit_rl"]["run"], [name for state in ranks for name in state]
    except DataError as error:
        verdict.problems.append(str(error))
        return
    except (KeyError, TypeError, AttributeError) as error:
        verdict.problems.append(f"what every checkpoint has is missing or is not as it must be ({error})")
        return
    try:
        check_finite(lightning)
    except NotFinite as error:
        verdict.problems.append(str(error))
    for name, part in Algorithm.PARTS.items():
        if (part.of == "run" and name not in of_run) or (part.of == "rank" and of_ranks.count(name) != world_size):
            verdict.problems.append(f"part '{name}' is missing: {part.holds}")
    verdict.parts = {name: digest(part) for name, part in parts.items()}
