"""`init`: a run.yaml for an environment, with every key and what it does."""

from __future__ import annotations

import argparse

from lit_rl.cli.commented import commented
from lit_rl.cli.environments import named_environment
from lit_rl.cli.output import write_or_print
from lit_rl.errors import EXIT_OK

SUMMARY = "write a run.yaml for an environment, every key explained"
ORDER = 15


def main(argv: list[str]) -> int:
    """Run ``lit-rl init``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl init",
        description="Write a run.yaml for an environment: with the RL Zoo's settings, if it has some, or else with "
        "what suits its spaces. It runs as it stands; what is not used is commented out.",
    )
    parser.add_argument("env", metavar="ENV", help="an id, module:Id, or a class as module:Class")
    parser.add_argument("--algorithm", metavar="NAME", help="by name (default: as the spaces ask for)")
    parser.add_argument("--out", help="the file to write; without it, it is printed")
    parser.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    arguments = parser.parse_args(argv)
    config = named_environment(arguments.env)
    from lit_rl.envs.build import make_env
    from lit_rl.envs.failures import close
    from lit_rl.envs.masks import has_masks
    from lit_rl.envs.own_streams import put_back
    from lit_rl.envs.raw import own_spaces
    from lit_rl.envs.spaces import plain_action_space
    from lit_rl.interop.recipes import algorithm_named, recipe

    if arguments.algorithm is not None:
        algorithm_named(arguments.algorithm)
    with put_back():
        env, _ = make_env(config)
        observation, action = env.observation_space, plain_action_space(own_spaces(env).action)
        masks = has_masks(env)
        close(env, config.name)
    found = recipe(config, observation, action, arguments.algorithm, masks)
    head = [
        f"A run of {found.config['model']['class_path']} on {config.name}: lit-rl fit --config "
        f"{arguments.out or 'run.yaml'}",
        *found.notes,
        "Keys that are commented out show their defaults.",
    ]
    checkpoint = {"every_timesteps": 50_000, "keep_last": 3}
    text = commented({**found.config, "checkpoint": checkpoint}, head)
    write_or_print(text, arguments.out, arguments.overwrite)
    return EXIT_OK
