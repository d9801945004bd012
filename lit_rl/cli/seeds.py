"""`fit --seeds 1,2,3`: one file trained over several seeds, one run after the other.

Each is a `fit` of its own in a process of its own, with `--seed_everything N --name NAME_seed_N` at its end, so that it
is bit for bit what that command gives, and can be gone on with alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lit_rl.cli.given import FLAGS, Given, model_name, read_arguments
from lit_rl.cli.lightning import NO_MODEL, check_each
from lit_rl.cli.together import check_together, last_given, name_given, own_run
from lit_rl.cli.variables import read_variables
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError
from lit_rl.ops.limits import SEEDS
from lit_rl.process import HandedOn

OPTION = "seeds"
_ALONE = ("seed_everything", "ckpt_path")
"""Options that mean one run."""


def asks_for_seeds(given: Sequence[Given]) -> bool:
    """Whether several seeds are to be trained, and no help is wanted."""
    shown = any(each.name in FLAGS or each.name.endswith(".help") for each in given)
    return not shown and any(each.name == OPTION for each in given)


def without_seeds(given: Sequence[Given]) -> list[Given]:
    """What is given besides."""
    return [each for each in given if each.name != OPTION]


def run_seeds(argv: Sequence[str]) -> int:
    """Train every seed; returns the exit code of the first that does not end with 0.

    Raises:
        ConfigError: something is wrong with one of them; nothing has begun.
    """
    given = read_arguments(argv)
    seeds = _seeds(next(each.text for each in reversed(given) if each.name == OPTION))
    rest = without_seeds(given)
    _check_options(rest)
    name = name_given([*read_variables("fit"), *rest])
    commands = [[*_arguments(argv), "--seed_everything", str(seed), "--name", seed_name(name, seed)] for seed in seeds]
    for command in commands:
        check_command(command)
    with HandedOn() as signals:
        for number, (seed, command) in enumerate(zip(seeds, commands, strict=True), 1):
            print(f"seed {seed} ({number} of {len(seeds)}): {seed_name(name, seed)}", flush=True)
            code = signals.run([sys.executable, "-m", "lit_rl", "fit", *command])
            if code != EXIT_OK:
                _say_what_is_left(seed, code, seeds[number:])
                return code
    return EXIT_OK


def seed_name(name: str, seed: int) -> str:
    """What the run of a seed is called."""
    return f"{name}_seed_{seed}"


def _seeds(text: str | None) -> list[int]:
    """`1,2,3` as numbers.

    Raises:
        ConfigError: it is no such list.
    """
    words = [word.strip() for word in (text or "").strip("[] ").split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) < 12 for word in words):
        raise ConfigError(f"--seeds: expected whole numbers such as 1,2,3, got {text!r}.")
    seeds = [int(word) for word in words]
    for seed in seeds:
        if seed > SEEDS.high:
            raise ConfigError(f"--seeds: {seed} is too large; seeds are below 2**32.")
        if seeds.count(seed) > 1:
            raise ConfigError(f"--seeds: {seed} stands twice; the same seed gives the same run.")
    return seeds


def _check_options(given: Sequence[Given]) -> None:
    for each in given:
        if each.name in _ALONE and not each.is_file:
            raise ConfigError(f"--{each.name}: means one run, and --seeds several; give one of them.")
    wanted = last_given([*given, *own_run(given)], "resume", "checkpoint", otherwise="last")
    if last_given(given, "mode", otherwise="fresh") == "resume" and wanted not in ("last", "best"):
        raise ConfigError(f"resume.checkpoint: '{wanted}' is one run's; with --seeds it is last or best, of each seed.")
    tasks = max(os.environ.get("WORLD_SIZE", "1"), os.environ.get("SLURM_NTASKS", "1"), key=lambda n: n.rjust(9, "0"))
    if tasks not in ("", "0", "1"):
        raise ConfigError(f"--seeds: this is one of {tasks} processes that train together; start each seed by itself.")


def _arguments(argv: Sequence[str]) -> list[str]:
    """The command line without `--seeds`."""
    kept, rest = list[str](), list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, _ = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != OPTION:
            kept.append(argument)
        elif not equals:
            rest.pop(0)
    return kept


def check_command(command: Sequence[str]) -> None:
    """Find in the command of one run what can be found without torch.

    Raises:
        ConfigError: names it.
    """
    given = [*read_variables("fit"), *read_arguments(command)]
    model = model_name(given)
    if model is None:
        raise ConfigError(NO_MODEL)
    check_each(given, model)
    try:
        check_together(given)
    except ConfigError as error:
        if last_given(given, "mode", otherwise="fresh") != "resume":
            raise
        raise ConfigError(
            f"{error} --requeue true begins the seeds that have not begun, and resumes the others."
        ) from None


def _say_what_is_left(seed: int, code: int, left: Sequence[int]) -> None:
    if left:
        what = "was stopped" if code == EXIT_STOPPED else f"ended with exit code {code}"
        print(f"seed {seed} {what}; not begun: {', '.join(map(str, left))}. --requeue true goes on with all of them.")
