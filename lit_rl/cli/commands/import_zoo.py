"""`import-zoo`: a run.yaml with settings of the RL Zoo."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_rl.algorithms import needed
from lit_rl.cli.drafts import write_draft
from lit_rl.errors import EXIT_OK
from lit_rl.interop.run_yaml import draft_run
from lit_rl.interop.settings import by_zoo_name, own_name
from lit_rl.interop.zoo import read_zoo

SUMMARY = "write a run.yaml with settings of the RL Zoo"
ORDER = 80


def main(argv: list[str]) -> int:
    """Run ``lit-rl import-zoo``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl import-zoo", description="Write a run.yaml with the settings of a block of the RL Zoo's YAML."
    )
    parser.add_argument("file", help="a hyperparams file of the Zoo, or an agent's config.yml")
    parser.add_argument("--env", default=None, help="the environment whose block is read")
    parser.add_argument(
        "--algo", help=f"whose settings they are: {', '.join(by_zoo_name())} (default: as the file is called, else ppo)"
    )
    parser.add_argument("--out", required=True, help="the run.yaml to write")
    arguments = parser.parse_args(argv)
    called = Path(arguments.file).stem
    algo = arguments.algo or (called if called in by_zoo_name() or needed(own_name(called)) else "ppo")
    zoo = read_zoo(arguments.file, arguments.env, algo)
    write_draft(draft_run(zoo=zoo, env_id=arguments.env), arguments.out)
    return EXIT_OK
