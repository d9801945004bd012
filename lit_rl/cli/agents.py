"""The agent that a command's path means; classes of the user's own are imported where a YAML of his names them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lit_rl.cli.given import own_config
from lit_rl.cli.text import read_yaml
from lit_rl.compare.find import path_or_run
from lit_rl.errors import ConfigError
from lit_rl.inference.agent import Agent
from lit_rl.inference.load import load
from lit_rl.run.wanted import DEFAULT_ROOT

NAMED = ("policy", "policy_kwargs")
"""Settings of a model that may name classes."""


def add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which agent."""
    parser.add_argument(
        "checkpoint", help="a run directory or the name of a run, a checkpoint, a .ckpt, or a stable-baselines3 .zip"
    )
    parser.add_argument(
        "--which", choices=["best", "last"], help="of a run's checkpoints; the best, if there is one, else the last"
    )
    parser.add_argument(
        "--config", help="the run's YAML, for its environment and classes of your own; a run directory has it already"
    )
    parser.add_argument("--vecnormalize", help="the moments of a .zip, where they are not found by name")


def agent_of(arguments: argparse.Namespace) -> Agent:
    """The agent that `add_agent_arguments` names.

    Raises:
        ConfigError: there is none, or its YAML cannot be read.
    """
    wanted = path_or_run(arguments.checkpoint, DEFAULT_ROOT)
    file = Path(arguments.config) if arguments.config is not None else own_config(wanted)
    settings = {} if file is None else named_in(file)
    try:
        return load(wanted, arguments.which, vecnormalize=arguments.vecnormalize, settings=settings)
    except ConfigError as error:
        said, asks, _ = str(error).partition("; pass ")
        if not asks:
            raise
        raise ConfigError(f"{said}; give the run's own YAML with --config to import it.") from None


def named_in(file: Path) -> dict[str, Any]:
    """The settings in a YAML that may name classes: policy, environment, rules of the curriculum."""
    config = read_yaml(file)
    model = config.get("model")
    own = model.get("init_args") if isinstance(model, dict) else None
    given = {key: own[key] for key in NAMED if isinstance(own, dict) and own.get(key) is not None}
    return given | {key: config[key] for key in ("curriculum", "env") if config.get(key)}
