"""Raw observations to check something with: played, where the environment can be made."""

from __future__ import annotations

from typing import Any

import numpy as np

from lit_rl.curriculum.assignment import example
from lit_rl.curriculum.levels import shown_of
from lit_rl.envs.build import make_env
from lit_rl.envs.masks import Mask, choices
from lit_rl.envs.raw import own_env
from lit_rl.envs.wrappers.frame_stack import FrameStack
from lit_rl.inference.agent import Agent
from lit_rl.ops.streams import EpisodeSeeds
from lit_rl.ops.tree import tree_map
from lit_rl.state.streams import capture_streams, restore_streams


def can_play(agent: Agent) -> bool:
    """Whether the agent's environment is known, and nothing that only a file names is imported for it."""
    config = agent.module.env_config
    return agent.module.play.foreign is None and (config.id is not None or config.class_path is not None)


def played_observations(agent: Agent, n: int) -> tuple[Any, np.ndarray | None]:
    """Raw observations of episodes that the agent plays, [n, ...] in each part, and masks [n, M] where there are some.

    Global streams are put back.
    """
    module = agent.module
    streams, seeds = capture_streams(), EpisodeSeeds(module.seed, 0, "export")
    own = example(module.levels, seeds[0]).env_kwargs if module.levels else {}
    made, _ = make_env(module.env_config.with_kwargs(own), shown=shown_of(module.levels))
    env = own_env(made)
    env = FrameStack(env, agent.n_stack) if agent.n_stack > 1 else env
    mask = Mask(made, module.env_config.name) if module.env_config.action_masks else None
    shown: list[Any] = []
    masks: list[np.ndarray] = []
    done, episode = True, 0
    try:
        while len(shown) < n:
            if done:
                obs, _ = env.reset(seed=seeds[episode])
                episode += 1
            shown.append(tree_map(np.array, obs))
            if mask is not None:
                masks.append(mask.look())
            action, _ = agent.predict(obs, deterministic=True, action_masks=masks[-1] if masks else None)
            obs, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
    finally:
        made.close()
        restore_streams(streams)
    return tree_map(lambda *parts: np.stack(parts), *shown), np.stack(masks) if masks else None


def drawn_observations(agent: Agent, n: int) -> tuple[Any, np.ndarray | None]:
    """The same drawn from the space, where there is no environment to play; masks then allow all."""
    space = agent.observation_space
    space.seed(0)
    flags = sum(choices(agent.module.action_space)) if agent.module.env_config.action_masks else 0
    drawn = tree_map(lambda *parts: np.stack(parts), *(space.sample() for _ in range(n)))
    return drawn, np.ones((n, flags), dtype=np.bool_) if flags else None
