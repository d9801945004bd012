"""A run.yaml from what other people's files say: an agent's zip, its moments, the Zoo's settings.

The result is a plain dictionary and the list of what it leaves out; nothing is dropped in silence.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from lit_rl.envs.retired import RENAMED
from lit_rl.errors import ConfigError, DataError
from lit_rl.interop.history import evaluations_beside
from lit_rl.interop.places import numbered
from lit_rl.interop.policy_names import policy_name
from lit_rl.interop.replay_settings import HER, KEYS, has_replay, replay_settings
from lit_rl.interop.sb3 import Agent
from lit_rl.interop.settings import by_zoo_name, refuse_unavailable, zoo_kinds
from lit_rl.interop.shapes import infer_net_arch, infer_shapes
from lit_rl.interop.vecnormalize import VecNormalizeStats
from lit_rl.interop.wrappers import translate, without_velocities
from lit_rl.interop.zoo import (
    NotCarried,
    ZooSettings,
    load_yaml,
    policy_kwargs,
    read_zoo,
    setting,
)

_ATARI = re.compile(r"stable_baselines3\.common\.atari_wrappers\.AtariWrapper")
_UNUSED = {"use_sde": False, "sde_sample_freq": -1, "use_sde_at_warmup": False, "tau": 1.0, "ent_coef": 0.0,
           "vf_coef": 0.0, "max_grad_norm": 0.0}  # fmt: skip
"""What stands in the file of an algorithm that has no exploration, targets or losses of this kind."""
OURS_ALONE = ("target_update_per_call", "share_exploration")
"""Settings that stable-baselines3 has not, where what it does is not what a run here does by itself."""
GAME = re.compile(r"ALE/.+-v5|.+NoFrameskip-v4")
"""Names of Atari games."""
_OFF_POLICY: dict[str, Any] = {
    **{name: [64, 64] for name in ("dqn", "qrdqn")},
    **{name: [256, 256] for name in ("sac", "tqc")},
    **{name: [400, 300] for name in ("td3", "ddpg")},
    "crossq": {"pi": [256, 256], "qf": [1024, 1024]},
}
"""Algorithms with a replay, and the layers that their policies have by themselves (without images)."""
# What a file keeps of its own history, or what a run sets elsewhere.
_BOOKKEEPING = re.compile(
    r"_.*|policy|seed|n_envs|num_timesteps|start_time|verbose|device|tensorboard_log|lr_schedule"
    r"|ep_info_buffer|ep_success_buffer|rollout_buffer_class|rollout_buffer_kwargs|.*\.pth|eval_env|env"
    r"|optimize_memory_usage|exploration_schedule|exploration_rate|pop_size|old_count|n_params|weights"
    r"|actor|critic|n_quantiles|.*_target|.*batch_norm_stats.*|sde_support|remove_time_limit_termination|replay_buffer|tensors"
)


@dataclass(frozen=True)
class RunDraft:
    """The content of a run.yaml, and what did not go into it."""

    config: dict[str, Any]
    not_carried: tuple[NotCarried, ...]

    def to_yaml(self) -> str:
        """The file's text, with what is not carried in comments at its head."""
        lines = [f"# Not carried over: {item.key}: {item.reason}" for item in self.not_carried]
        head = "".join(re.sub(r"[^\x20-\x7e]", " ", line) + "\n" for line in lines)
        return head + yaml.safe_dump(self.config, sort_keys=False, width=100)


def find_zoo_config(zip_path: str | Path) -> Path | None:
    """The Zoo's `config.yml` beside an agent's zip (`ppo/Env-v1_1/Env-v1.zip` has `Env-v1/config.yml`), or
    None.
    """
    path = Path(zip_path)
    folders = [path.parent / path.stem]
    if match := re.fullmatch(r"(.+)_\d+", path.parent.absolute().name):
        folders.append(path.parent / match.group(1))
    return next((folder / "config.yml" for folder in folders if (folder / "config.yml").is_file()), None)


def read_zoo_beside(agent: Agent) -> ZooSettings | None:
    """The Zoo's settings beside an agent's zip, with the environment named in its `args.yml`; None without
    them.
    """
    config = find_zoo_config(agent.path)
    if config is None or agent.algorithm not in by_zoo_name():
        return None
    arguments = config.with_name("args.yml")
    env_id = load_yaml(arguments).get("env") if arguments.is_file() else config.parent.name
    return read_zoo(config, env_id if isinstance(env_id, str) else None, agent.algorithm)


def draft_run(
    agent: Agent | None = None,
    stats: VecNormalizeStats | None = None,
    stats_path: str | Path | None = None,
    zoo: ZooSettings | None = None,
    env_id: str | None = None,
    mode: Literal["warmstart", "resume"] = "warmstart",
    env_class: str | None = None,
) -> RunDraft:
    """A run.yaml that begins from `agent` as `mode` says (or afresh, without one) with the settings of the files.

    The zip's numbers go before the Zoo's, except for schedules, whose numbers only the Zoo's text has.
    `env_id` goes before the Zoo's name, and `env_class` (an import path) before both. Raises `ConfigError` when no
    environment is known, or there is no such algorithm here.
    """
    missing: list[NotCarried] = []
    algorithm = agent.algorithm if agent else zoo.algo if zoo else ""
    cls = by_zoo_name().get(algorithm)
    if cls is None:
        known = ", ".join(by_zoo_name())
        what = str(agent.path) if agent else "draft"
        refuse_unavailable(algorithm, what)
        raise ConfigError(f"{what}: an agent of {algorithm!r} starts no run here; there are {known}.")
    env = _env(stats, zoo, env_class or env_id, agent, missing)
    if env_class is not None:
        env = {"class_path": env_class, **{key: value for key, value in env.items() if key != "id"}}
    model = _model(agent, zoo, cls, missing)
    config: dict[str, Any] = {
        "mode": mode if agent else "fresh",
        "name": f"{algorithm}-{re.sub(r'[^A-Za-z0-9.-]+', '-', env_class or env['id'])}",
    }
    if agent and type(agent.settings.get("seed")) is int:
        config["seed_everything"] = agent.settings["seed"]
    of_zoo, told = zoo.n_timesteps if zoo else None, agent.settings.get("_total_timesteps") if agent else None
    total = (told or of_zoo) if mode == "resume" else (of_zoo or told)  # the Zoo's -n stands in the zip alone
    if type(total) is int and total > 0:
        config["total_timesteps"] = total
    if agent and mode == "resume":
        config["resume"] = _beside({"checkpoint": str(agent.path)}, stats_path)
        config |= _evaluations(agent) | _saves(agent)
    elif agent:
        config["warmstart"] = _warmstart(agent, env.get("normalize", {}), stats_path)
    config["env"] = env
    config["model"] = {"class_path": cls.__name__, "init_args": model}
    if zoo:
        missing += zoo.not_carried
    return RunDraft(config, tuple(dict.fromkeys(missing)))


def draft_model(agent: Agent, algorithm: type[Any], zoo: ZooSettings | None = None) -> dict[str, Any]:
    """Arguments of our algorithm that make the networks of an agent, and what else its files say."""
    return _model(agent, zoo, algorithm, [])


def draft_normalize(stats: VecNormalizeStats | None) -> dict[str, Any] | None:
    """The `env.normalize` block for what a VecNormalize pickle says; `None` without one."""
    return _normalize(stats, None, [])


def _warmstart(agent: Agent, normalize: dict[str, Any], stats_path: str | Path | None) -> dict[str, Any]:
    load = ["policy", "value"]
    if stats_path is not None:
        load += [f"{kind}_moments" for kind in ("obs", "reward") if normalize.get(kind)]
    return _beside({"checkpoint": str(agent.path), "load": load, "on_mismatch": "error"}, stats_path)


def _evaluations(agent: Agent) -> dict[str, Any]:
    """The `eval` block that goes on with the evaluations beside an agent's zip."""
    timesteps = agent.settings.get("num_timesteps")
    kept: dict[str, Any] = {}
    if type(timesteps) is int:
        with contextlib.suppress(DataError):  # which is said where the run begins
            kept = evaluations_beside(agent.path, timesteps)
    if not len(kept.get("timesteps", ())):
        return {}
    every = int(np.diff(kept["timesteps"], prepend=0).min())
    return {"eval": {"every": every, "episodes": int(kept["results"].shape[1])}} if every > 0 else {}


def _saves(agent: Agent) -> dict[str, Any]:
    """The `checkpoint` block that saves as often as CheckpointCallback did beside an agent's zip."""
    names = (numbered(path.stem) for path in agent.path.parent.glob("*_steps.zip"))
    steps = sorted({name[1] for name in names if name is not None})
    every = int(np.diff(steps, prepend=0).min()) if steps else 0
    return {"checkpoint": {"every_timesteps": every}} if every > 0 else {}


def _beside(block: dict[str, Any], stats_path: str | Path | None) -> dict[str, Any]:
    return block if stats_path is None else block | {"vecnormalize": str(stats_path)}


def _env(
    stats: VecNormalizeStats | None,
    zoo: ZooSettings | None,
    env_id: str | None,
    agent: Agent | None,
    missing: list[NotCarried],
) -> dict[str, Any]:
    name = env_id or (zoo.env_id if zoo else None)
    if not name:
        raise ConfigError("env: the files do not name their environment; give it with --env.")
    name, hidden = without_velocities(name)
    if name in RENAMED and env_id is None:
        new, note = RENAMED[name]
        missing.append(NotCarried("env.id", f"{name} is {new} now ({note}); --env says otherwise"))
        name = new
    n_envs = agent.settings.get("n_envs") if agent else None
    if zoo and zoo.n_envs:
        n_envs = zoo.n_envs
    env: dict[str, Any] = {"id": name, "n_envs": n_envs if type(n_envs) is int and n_envs > 0 else 1}
    if zoo and zoo.env_kwargs:
        env["kwargs"] = zoo.env_kwargs
    if hidden is not None:
        env["wrappers"] = [hidden]
    for wrapper in zoo.wrappers if zoo else []:
        if _ATARI.fullmatch(wrapper.class_path) and not wrapper.kwargs:
            env["atari"] = True
            continue
        path, reason = translate(wrapper.class_path)
        if path is None:
            missing.append(NotCarried("env_wrapper", reason))
            continue
        entry: dict[str, Any] = {"class_path": path}
        if wrapper.kwargs:
            entry["init_args"] = wrapper.kwargs
        env.setdefault("wrappers", []).append(entry)
    if zoo and zoo.frame_stack:
        env["frame_stack"] = zoo.frame_stack
    elif zoo is None and agent and GAME.fullmatch(name):
        env |= _atari(agent)
    normalize = _normalize(stats, zoo, missing)
    if normalize:
        env["normalize"] = normalize
    elif agent and agent.used_vecnormalize:
        missing.append(NotCarried("env.normalize", "the agent was trained with VecNormalize; its pickle is needed"))
    return env


def _atari(agent: Agent) -> dict[str, Any]:
    """What makes the pictures of an Atari game those that an agent has seen, where they are those of `AtariWrapper`."""
    shape = (agent.observation_space.shape if agent.observation_space else None) or ()
    if len(shape) != 3 or sorted(shape)[1:] != [84, 84]:
        return {}
    stack = min(shape)
    return {"atari": True} if stack == 4 else {"atari": True, "frame_stack": stack}


def _normalize(
    stats: VecNormalizeStats | None, zoo: ZooSettings | None, missing: list[NotCarried]
) -> dict[str, Any] | None:
    """The pickle's settings; whether rewards are normalised as the Zoo trained, since evaluation switches
    it off.
    """
    names = {"norm_obs": "obs", "norm_reward": "reward"}
    trained = None if zoo is None or zoo.normalize is None else zoo.normalize
    if stats is None:
        return None if trained is None else {names.get(key, key): value for key, value in trained.items()}
    reward = stats.norm_reward
    if trained is not None and trained["norm_reward"] != reward:
        reward = trained["norm_reward"]
        text = f"{stats.norm_reward} in the pickle; {reward}, as in the Zoo's settings, is used"
        missing.append(NotCarried("env.normalize.reward", text))
    return {
        "obs": stats.norm_obs,
        "reward": reward,
        "clip_obs": stats.clip_obs,
        "clip_reward": stats.clip_reward,
        "gamma": stats.gamma,
        "epsilon": stats.epsilon,
        **({"keys": sorted(stats.obs)} if isinstance(stats.obs, dict) else {}),
    }


def _model(
    agent: Agent | None, zoo: ZooSettings | None, algorithm: type[Any], missing: list[NotCarried]
) -> dict[str, Any]:
    model: dict[str, Any] = {}
    if policy := policy_name(agent, zoo):
        model["policy"] = policy
    else:
        missing.append(NotCarried("policy", "the files do not name one that we know"))
    known, values = zoo_kinds(algorithm), dict(zoo.carried) if zoo else {}
    for key, value in (agent.settings if agent else {}).items():
        if key in known and value is not None and not (known[key] == "schedule" and key in values):
            try:
                values[key] = setting(known[key], value, key)
            except ConfigError as error:
                missing.append(NotCarried(key, str(error).removeprefix(f"{key}: ")))
        elif key not in {*known, *KEYS} and not _BOOKKEEPING.fullmatch(key) and value not in (None, _UNUSED.get(key)):
            text = f"{algorithm.__name__} here has no such setting (its value was {str(value)[:60]!r})"
            missing.append(NotCarried(key, text))
    if agent and has_replay(algorithm):
        _add_replay(agent, values, missing)
    n_envs = (zoo.n_envs if zoo else None) or (agent.settings.get("n_envs") if agent else None)
    values |= _as_there(algorithm, values, n_envs)
    kwargs = _policy_kwargs(agent, zoo, model.get("policy"), missing)
    if "use_rms_prop" in known and agent:
        values |= _rms_prop(kwargs)
    model.update({key: values[key] for key in sorted(values)})
    for key, reason in (agent.not_read if agent else {}).items():
        if key not in values and not _BOOKKEEPING.fullmatch(key):
            missing.append(NotCarried(key, reason))
    if kwargs:
        model["policy_kwargs"] = kwargs
    return model


def _as_there(algorithm: type[Any], values: dict[str, Any], n_envs: Any) -> dict[str, Any]:
    """`OURS_ALONE`, as far as an algorithm has them and they make a difference."""
    found = inspect.signature(algorithm).parameters.keys() & set(OURS_ALONE)
    if values.get("target_update_interval", 1) == 1:
        found -= {"target_update_per_call"}
    if n_envs in (None, 1):
        found -= {"share_exploration"}
    return dict.fromkeys(sorted(found), True)


def _add_replay(agent: Agent, values: dict[str, Any], missing: list[NotCarried]) -> None:
    """What an agent's file says of its replay."""
    said, kwargs = agent.settings, agent.settings.get("replay_buffer_kwargs")
    plain = kwargs if isinstance(kwargs, dict) else {}
    found = replay_settings(said.get("replay_buffer_class"), plain, said.get("optimize_memory_usage"), asked=False)
    if "her" in found.carried and values.get("n_steps", 1) != 1:
        found.left_out["n_steps"] = f"{HER} takes single steps (its value was {values.pop('n_steps')})"
    values |= found.carried
    missing += [NotCarried(key, reason) for key, reason in found.left_out.items()]


def _rms_prop(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A2C's own optimizer stands in the agent's `policy_kwargs`: taken out of them, as the settings it comes from."""
    if "optimizer_class" not in kwargs:
        return {"use_rms_prop": False}
    given = kwargs.get("optimizer_kwargs")
    if kwargs["optimizer_class"] != "torch.optim.RMSprop" or not isinstance(given, dict):
        return {}
    if {key: given[key] for key in given if key != "eps"} != {"alpha": 0.99, "weight_decay": 0}:
        return {}
    del kwargs["optimizer_class"], kwargs["optimizer_kwargs"]
    return {"use_rms_prop": True, "rms_prop_eps": given["eps"]}


def _policy_kwargs(
    agent: Agent | None,
    zoo: ZooSettings | None,
    policy: str | None,
    missing: list[NotCarried],
) -> dict[str, Any]:
    """The Zoo's under the zip's own; layer sizes as the tensors have them."""
    kwargs = dict(zoo.policy_kwargs) if zoo else {}
    if agent is None:
        return kwargs
    own, refused = policy_kwargs(agent.policy_kwargs)
    missing += refused
    kwargs.update(own)
    if agent.algorithm in _OFF_POLICY:
        return _off_policy_kwargs(kwargs, agent, policy)
    if agent.algorithm == "ars":  # its layers stand in the file, where they are not the class's own
        return kwargs
    shapes = infer_shapes(agent.policy, str(agent.path))
    if shapes.shared_layers:
        missing.append(
            NotCarried("policy_kwargs.net_arch", f"shared layers {shapes.shared_layers}: gone since SB3 1.8")
        )
        return kwargs
    given = kwargs.get("net_arch", [] if (policy or "").startswith("Cnn") else [64, 64])
    both = given if isinstance(given, dict) else {"pi": given, "vf": given}
    actual = {"pi": list(shapes.policy_layers), "vf": list(shapes.value_layers)}
    if {"pi": both.get("pi", []), "vf": both.get("vf", [])} != actual:
        kwargs["net_arch"] = actual
    return kwargs


def _off_policy_kwargs(kwargs: dict[str, Any], agent: Agent, policy: str | None) -> dict[str, Any]:
    """Without what is a setting of the algorithm here, and with the layer sizes that the tensors have."""
    kwargs = {key: value for key, value in kwargs.items() if key not in ("use_sde", "sde_net_arch")}
    images = [] if agent.algorithm in ("dqn", "qrdqn") else [256, 256]
    default = images if policy == "CnnPolicy" else _OFF_POLICY[agent.algorithm]
    given, actual = kwargs.get("net_arch", default), infer_net_arch(agent.policy)
    if "both" in actual:
        if given != actual["both"]:
            kwargs["net_arch"] = actual["both"]
    elif actual and (given if isinstance(given, dict) else {"pi": given, "qf": given}) != actual:
        kwargs["net_arch"] = actual
    return kwargs
