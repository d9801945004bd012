"""`doctor`: can an environment be trained on, and what to do about what is found."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lit_rl.cli.apart import run_watched
from lit_rl.cli.doctor import look, plain, screen
from lit_rl.cli.environments import named_environment
from lit_rl.cli.given import read_arguments
from lit_rl.curriculum.curriculum import make_curriculum
from lit_rl.curriculum.levels import Level
from lit_rl.envs.build import MISSING_ID, check_id
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import EXIT_OK, ConfigError

SUMMARY = "look at an environment: seeding, determinism, resume grade, speed"
ORDER = 55


def main(argv: list[str]) -> int:
    """Run ``lit-rl doctor``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl doctor",
        description="Look at an environment as a run would, and say what to do about what is found. Nothing is "
        "written. The exit code is 0 if it can be trained on.",
    )
    parser.add_argument("env", metavar="ENV", nargs="?", help="an id, module:Id, or a class as module:Class")
    parser.add_argument("--config", metavar="FILE", help="a run's YAML, whose env and curriculum blocks are taken")
    parser.add_argument("--seed", type=int, default=0, help="of the look (default: 0)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which it counts as hung (default: 60)")
    parser.add_argument("--json", action="store_true", help="print what is found as JSON")
    arguments = parser.parse_args(argv)
    if (arguments.env is None) == (arguments.config is None):
        raise ConfigError("give an environment, such as CartPole-v1, or --config FILE, and not both.")
    if not 0 <= arguments.seed < 2**32 - 1:
        raise ConfigError(f"--seed is {arguments.seed}; it must be from 0 to {2**32 - 2}.")
    if not arguments.limit > 0:
        raise ConfigError(f"--limit is {arguments.limit:g}; it must be above 0.")

    def work(stage: Any) -> dict[str, Any]:
        stage("it is imported")
        config, levels = _environment(arguments)
        return look(config, arguments.seed, levels, config.n_envs if arguments.config else 8, stage)

    found = run_watched(work, arguments.env or arguments.config, arguments.limit)
    if arguments.json:
        print(json.dumps(plain(found), indent=2))
    else:
        print(screen(found))
    return EXIT_OK


def _environment(arguments: argparse.Namespace) -> tuple[EnvConfig, list[Level]]:
    if arguments.config is None:
        config, levels = named_environment(arguments.env), list[Level]()
    else:
        (given,) = read_arguments(["--config", str(Path(arguments.config))])
        config = EnvConfig.from_plain(given.tree.get("env") or {})
        curriculum = make_curriculum(given.tree.get("curriculum"), config.n_envs)
        levels = [] if curriculum is None else list[Level](curriculum.levels)
    if config.id is None and config.class_path is None:
        raise ConfigError(MISSING_ID)
    if config.class_path is None:
        check_id(config)
    return config, levels
