"""From the `env` block to one environment: made, monitored, wrapped in the order written."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from lit_rl.curriculum.shown import Shown
from lit_rl.envs.ale import AleStart, is_atari
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.layers import check_environment, check_layers, check_wrapper
from lit_rl.envs.masks import with_method
from lit_rl.envs.monitor import EpisodeMonitor
from lit_rl.envs.retired import RENAMED, successor
from lit_rl.envs.supported import check_spaces
from lit_rl.envs.wrappers.visible import Visible
from lit_rl.errors import ConfigError, did_you_mean, raised
from lit_rl.ops.limits import called


class CannotMake(ConfigError):
    """A constructor of the user's choice raised; its error is the cause."""


_EXTRAS = {
    "box2d": "box2d",
    "Box2D": "box2d",
    "mujoco": "mujoco",
    "MuJoCo": "mujoco",
    "ale": "atari",
    "cv2": "atari",
    "moviepy": "video",
    "MoviePy": "video",
    "pygame": "video",
}
MISSING_ID = "env.id is missing: name an environment, such as `env: {id: CartPole-v1}`, or give env.class_path."


def make_env(
    config: EnvConfig, env_index: int = 0, shown: Shown | None = None
) -> tuple[gym.Env[Any, Any], EpisodeMonitor]:
    """One environment with all its wrappers, and the monitor inside it.

    Args:
        config: the environment and its wrappers.
        env_index: its index in the run.
        shown: what of an episode's task stands in the observation.

    Raises:
        ConfigError: the environment, a wrapper or an argument does not exist, or a space is not supported.
    """
    base = _make_base(config)
    check_layers(base, config)
    monitor = EpisodeMonitor(base, env_index, AleStart() if is_atari(base) else None)
    env: gym.Env[Any, Any] = monitor if shown is None else Visible(monitor, shown)
    if config.atari:
        env = _atari(env, config)
    for i, wrapper in enumerate(config.wrappers):
        key = f"env.wrappers[{i}]"
        cls = import_class(wrapper.class_path, f"{key}.class_path")
        check_wrapper(cls, f"{key}.class_path")
        env = call(cls, f"{key}.init_args", env, **with_method(cls, env, wrapper.init_args))
        check_environment(env, f"{key}.class_path", wrapper.class_path)
    check_layers(env, config)
    check_spaces(getattr(env, "observation_space", None), getattr(env, "action_space", None), config)
    return _own_wrappers(env, config), monitor


def _make_base(config: EnvConfig) -> gym.Env[Any, Any]:
    if config.class_path is not None:
        env: gym.Env[Any, Any] = call(import_class(config.class_path, "env.class_path"), "env.kwargs", **config.kwargs)
        check_environment(env, "env.class_path", config.class_path)
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
    env = _made_by_id(config.id, options)
    check_environment(env, "env.id", config.id)
    return env


def check_id(config: EnvConfig) -> None:
    """Refuse an id that no environment has, or none has any more.

    One that is there is not made here, for that may take long, and it would be made once more for the run.

    Raises:
        ConfigError: names the nearest id, or the id of today.
    """
    if config.id in gym.registry and config.id not in RENAMED:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come once more when the run makes it
            _make_base(config).close()
    except ConfigError as error:
        unknown = isinstance(error.__cause__, gym.error.UnregisteredEnv | gym.error.DeprecatedEnv)
        if unknown or config.id is None or config.id in RENAMED:
            raise


OF_YOUR_OWN = " One that a module of yours registers is module:Id; a class is env.class_path."


def _made_by_id(name: str, options: dict[str, Any]) -> gym.Env[Any, Any]:
    try:
        with warnings.catch_warnings():
            if name in RENAMED:  # it is said below, and in one line
                warnings.simplefilter("ignore", DeprecationWarning)
            made: gym.Env[Any, Any] = call(gym.make, "env.kwargs", name, **options)
        return made
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, gym.error.DependencyNotInstalled | ModuleNotFoundError):
            raise ConfigError(f"env.id: {name} {lacks(cause)}{successor(name)}") from cause
        if isinstance(cause, gym.error.Error):
            known = [spec for spec in gym.registry if "/" not in spec or "/" in name]
            text = str(cause).split(" Did you mean")[0].rstrip(".").replace("\n", " ")
            way_out = successor(name) or did_you_mean(name, known) or ("" if ":" in name else OF_YOUR_OWN)
            raise ConfigError(f"env.id: {text}.{way_out}") from cause
        if name in RENAMED:
            raise ConfigError(f"env.id: {name} cannot be made any more.{successor(name)}") from cause
        raise


def lacks(error: Exception) -> str:
    """What to install where a package is missing."""
    text = str(error).splitlines()[0].rstrip(".")
    extra = next((extra for word, extra in _EXTRAS.items() if word in text), None)
    hint = f" Install it with `pip install 'lit-rl[{extra}]'`." if extra else ""
    return f"needs a package that is not installed: {text}.{hint}"


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

    wrapped: gym.Env[Any, Any] = Checked(env)
    if needs_plain(env):
        wrapped = PlainSpaces(wrapped)
    if config.n_stack > 1:
        wrapped = FrameStack(wrapped, config.n_stack)
    space = wrapped.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    if any(needs_transpose(part) for part in parts):
        wrapped = ChannelsFirst(wrapped)
    return env if isinstance(wrapped, Checked) else wrapped  # its slot looks at the outermost ones


def import_class(path: str, key: str) -> Any:
    """The object at a dotted import path (or `module:Name`); `key` names the setting in errors.

    Raises:
        ConfigError: there is none, or its module cannot be imported.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    if not module_name.strip("."):
        raise ConfigError(f"{key}: '{path}' is no import path; write module.Class.")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}: cannot import '{path}': {error}.") from None
    except Exception as error:
        raise ConfigError(f"{key}: importing '{path}' raised {raised(error)}.") from None
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(f"{key}: module '{module_name}' has no '{name}'.{did_you_mean(name, dir(module))}") from None


def call(function: Any, key: str, *args: Any, **kwargs: Any) -> Any:
    """Call `function`, a class or a factory; whatever it raises is a mistake in the setting `key`.

    Raises:
        ConfigError: says what was raised, and where in the user's own file. The error is its cause.
    """
    try:
        return function(*args, **kwargs)
    except ConfigError:
        raise
    except Exception as error:
        name = getattr(function, "__name__", str(function))
        if isinstance(error, gym.error.DependencyNotInstalled | ModuleNotFoundError) and _named_extra(error):
            raise CannotMake(f"{key.removesuffix('.init_args')}: {name} {lacks(error)}") from error
        text = str(error).splitlines()[0].rstrip(".") if str(error) else ""
        if isinstance(error, TypeError) and ("keyword argument" in text or "required positional argument" in text):
            raise CannotMake(f"{key}: {text}.{_nearest(text, function, args)}") from error
        raise CannotMake(f"{key}: {called(name, kwargs)} raised {raised(error)}.") from error


def _named_extra(error: Exception) -> bool:
    return any(word in str(error) for word in _EXTRAS)


def _nearest(text: str, function: Any, args: tuple[Any, ...]) -> str:
    """The nearest keyword argument to one that is too many."""
    wrong = re.search(r"keyword argument '(\w+)'", text)
    if function is gym.make and args[0] in gym.registry:
        function = gym.registry[args[0]].entry_point
        if isinstance(function, str):
            function = import_class(function, "env.id")
    if wrong is None or not callable(function):
        return ""
    return did_you_mean(wrong[1], inspect.signature(function).parameters)
