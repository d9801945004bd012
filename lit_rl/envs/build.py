"""From the `env` block to one environment: made, monitored, wrapped in the order written."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from lit_rl.envs.ale import AleStart, is_atari
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.layers import check_environment, check_layers, check_wrapper
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.envs.supported import check_spaces
from lit_rl.errors import ConfigError, did_you_mean

_EXTRAS = {
    "box2d": "box2d",
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "MuJoCo": "mujoco",
    "ale": "atari",
    "cv2": "atari",
}
MISSING_ID = "env.id is missing: name an environment, such as `env: {id: CartPole-v1}`."


def make_env(config: EnvConfig, env_index: int = 0) -> tuple[gym.Env[Any, Any], EpisodeMonitor]:
    """One environment with all its wrappers, and the monitor inside it.

    Raises:
        ConfigError: the environment, a wrapper or an argument does not exist, or a space is not supported.
    """
    base = _make_base(config)
    check_environment(base, "env.id" if config.class_path is None else "env.class_path", config.name)
    check_layers(base, config)
    monitor = EpisodeMonitor(base, env_index, AleStart() if is_atari(base) else None)
    env: gym.Env[Any, Any] = monitor
    if config.atari:
        env = _atari(env, config)
    for i, wrapper in enumerate(config.wrappers):
        key = f"env.wrappers[{i}]"
        cls = import_class(wrapper.class_path, f"{key}.class_path")
        check_wrapper(cls, f"{key}.class_path")
        env = call(cls, f"{key}.init_args", env, **wrapper.init_args)
        check_environment(env, f"{key}.class_path", wrapper.class_path)
    check_layers(env, config)
    check_spaces(getattr(env, "observation_space", None), getattr(env, "action_space", None), config)
    return _own_wrappers(env, config), monitor


def _make_base(config: EnvConfig) -> gym.Env[Any, Any]:
    if config.class_path is not None:
        env: gym.Env[Any, Any] = call(import_class(config.class_path, "env.class_path"), "env.kwargs", **config.kwargs)
        if config.max_episode_steps is not None:
            env = gym.wrappers.TimeLimit(env, config.max_episode_steps)
        return env
    if config.id is None:
        raise ConfigError(MISSING_ID)
    if config.id.startswith("ALE/") or config.atari:
        _register_atari()
    options: dict[str, Any] = {"disable_env_checker": True, **config.kwargs}
    if config.max_episode_steps is not None:
        options["max_episode_steps"] = config.max_episode_steps
    if config.atari and config.id.startswith("ALE/"):
        options.setdefault("frameskip", 1)  # the preset skips frames itself
    try:
        made: gym.Env[Any, Any] = call(gym.make, "env.kwargs", config.id, **options)
        return made
    except gym.error.DependencyNotInstalled as error:
        raise ConfigError(_missing(config.id, error)) from None
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(config.id, error)) from None
    except (gym.error.UnregisteredEnv, gym.error.Error) as error:
        known = [spec for spec in gym.registry if "/" not in spec or (config.id and "/" in config.id)]
        text = str(error).split(" Did you mean")[0].rstrip(".").replace("\n", " ")
        raise ConfigError(f"env.id: {text}.{did_you_mean(config.id, known)}") from None


def _missing(name: str, error: Exception) -> str:
    text = str(error).splitlines()[0].rstrip(".")
    extra = next((extra for word, extra in _EXTRAS.items() if word in text), None)
    hint = f" Install it with `pip install 'lit-rl[{extra}]'`." if extra else ""
    return f"env.id: {name} needs a package that is not installed: {text}.{hint}"


def _register_atari() -> None:
    try:
        import ale_py
    except ModuleNotFoundError:
        raise ConfigError("env: Atari needs ale-py; install it with `pip install 'lit-rl[atari]'`.") from None
    gym.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def _atari(env: gym.Env[Any, Any], config: EnvConfig) -> gym.Env[Any, Any]:
    from stable_baselines3.common.atari_wrappers import AtariWrapper

    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("env.atari needs OpenCV; install it with `pip install 'lit-rl[atari]'`.") from None
    if not is_atari(env):
        raise ConfigError(f"env.atari is for Atari games; {config.name} is not one. Remove `atari: true`.")
    return AtariWrapper(env)


def _own_wrappers(env: gym.Env[Any, Any], config: EnvConfig) -> gym.Env[Any, Any]:
    from lit_rl.envs.wrappers.channels_first import ChannelsFirst, needs_transpose
    from lit_rl.envs.wrappers.checked import Checked
    from lit_rl.envs.wrappers.frame_stack import FrameStack
    from lit_rl.envs.wrappers.plain_spaces import PlainSpaces, needs_plain

    n_stack = config.frame_stack or (4 if config.atari else None)
    wrapped: gym.Env[Any, Any] = Checked(env)
    if needs_plain(env):
        wrapped = PlainSpaces(wrapped)
    if n_stack is not None and n_stack > 1:
        wrapped = FrameStack(wrapped, n_stack)
    space = wrapped.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    if any(needs_transpose(part) for part in parts):
        wrapped = ChannelsFirst(wrapped)
    return env if isinstance(wrapped, Checked) else wrapped  # its slot looks at the outermost ones


def import_class(path: str, key: str) -> Any:
    """The object at a dotted import path (or `module:Name`); `key` names the setting in errors."""
    module_name, _, name = path.replace(":", ".").rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{key}: cannot import '{path}': {error}.") from None
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(f"{key}: module '{module_name}' has no '{name}'.{did_you_mean(name, dir(module))}") from None


def call(function: Any, key: str, *args: Any, **kwargs: Any) -> Any:
    """Call `function`; an argument that is too many or missing is a mistake in the setting `key`."""
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" in str(error) or "required positional argument" in str(error):
            raise ConfigError(f"{key}: {str(error).splitlines()[0].rstrip('.')}.") from None
        raise
