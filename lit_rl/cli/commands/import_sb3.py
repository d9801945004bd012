"""`import-sb3`: a run.yaml that begins from a stable-baselines3 agent."""

from __future__ import annotations

import argparse

from lit_rl.cli.drafts import draft_of, write_draft
from lit_rl.errors import EXIT_OK
from lit_rl.interop.places import agent_file
from lit_rl.interop.sb3 import read_agent

SUMMARY = "write a run.yaml that begins from a stable-baselines3 agent"
ORDER = 70


def main(argv: list[str]) -> int:
    """Run ``lit-rl import-sb3``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl import-sb3", description="Write a run.yaml that begins from a stable-baselines3 agent."
    )
    parser.add_argument("agent", help="the agent's .zip, or the directory that it lies in")
    parser.add_argument(
        "--mode",
        choices=["warmstart", "resume"],
        default="warmstart",
        help="warmstart begins a new run with its weights (default), resume goes on with its training",
    )
    parser.add_argument("--vecnormalize", default=None, help="its VecNormalize pickle, where it is not found by name")
    parser.add_argument(
        "--env", default=None, help="the environment, where its name has changed since: an id, module:Id or a class"
    )
    parser.add_argument("--out", required=True, help="the run.yaml to write")
    arguments = parser.parse_args(argv)
    agent = read_agent(agent_file(arguments.agent))
    write_draft(draft_of(agent, arguments.env, arguments.vecnormalize, arguments.mode), arguments.out)
    return EXIT_OK
