"""`adopt`: a run directory that goes on with the training of a stable-baselines3 agent."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lit_rl.cli.drafts import draft_of, say_what_is_left_out
from lit_rl.cli.given import read_arguments
from lit_rl.cli.lightning import run_lightning
from lit_rl.cli.together import last_given, root_given
from lit_rl.errors import EXIT_OK, EXIT_STOPPED, ConfigError
from lit_rl.interop.places import agent_file
from lit_rl.interop.sb3 import read_agent
from lit_rl.run.directory import CONFIG, VERSION, versions_of

SUMMARY = "make a run of a stable-baselines3 agent, to go on with its training"
ORDER = 75


def main(argv: list[str]) -> int:
    """Run ``lit-rl adopt``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl adopt",
        description="Make a run directory that stands where the training of a stable-baselines3 agent stands: weights, "
        "optimizer, schedules, counters, normalisation, replay. `fit` goes on with it.",
    )
    parser.add_argument("agent", help="the agent's .zip, or the directory that SB3's callbacks or the RL Zoo left")
    parser.add_argument("--out", type=Path, default=None, help="ROOT/NAME of the run (default: lightning_logs/NAME)")
    parser.add_argument("--config", default=None, help="the run.yaml, where the agent's own files are not to make it")
    parser.add_argument(
        "--env",
        default=None,
        help="the environment, where its name has changed or is not known: an id, module:Id or a class",
    )
    parser.add_argument("--vecnormalize", default=None, help="its VecNormalize pickle, where it is not found by name")
    parser.add_argument("--replay", default=None, help="its replay pickle, where it is not found by name")
    arguments = parser.parse_args(argv)
    if arguments.config is not None and arguments.env is not None:
        raise ConfigError("--env: the environment stands in the file that --config names; give one of them.")
    agent = read_agent(agent_file(arguments.agent))
    options = ["--resume.checkpoint", str(agent.path), "--resume.fork", "true", "--mode", "resume", "--pause_at", "1"]
    for key in ("vecnormalize", "replay"):
        if getattr(arguments, key) is not None:
            options += [f"--resume.{key}", getattr(arguments, key)]
    draft = None
    if arguments.config is None:
        draft = draft_of(agent, arguments.env, arguments.vecnormalize, "resume")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, CONFIG) if arguments.config is None else Path(arguments.config)
        if draft is not None:
            file.write_text(draft.to_yaml())
        given = read_arguments(["--config", str(file)])
        out = arguments.out or root_given(given) / str(last_given(given, "name", otherwise="run"))
        if VERSION.fullmatch(out.name):
            raise ConfigError(f"--out: name the run, {out.parent}; its directories are numbered by themselves.")
        place = ["--name", out.name, "--trainer.default_root_dir", str(out.parent)]
        code = run_lightning("fit", [*given, *read_arguments([*options, *place])])
    if code not in (EXIT_OK, EXIT_STOPPED):
        return code
    if draft is not None:
        say_what_is_left_out(draft)
    run = next(iter(versions_of(out.parent, out.name)))
    further = " --resume.additional_timesteps N" if code == EXIT_OK else ""
    print(f"go on: lit-rl fit --config {run / CONFIG}{further}")
    return EXIT_OK
