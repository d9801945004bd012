"""What the `env` block of a run's YAML says."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from lit_rl.errors import ConfigError, did_you_mean

# Bare `dict` and `list` below: with `dict[str, Any]` jsonargparse reads the quoted "3" as the number 3, and with
# `list[Any]` it takes a mapping with a `class_path` for something to instantiate.

Backend = Literal["auto", "sync", "async", "native"]
OnCrash = Literal["stop", "restart"]
GlobalStreams = Literal["auto", "own", "shared"]


@dataclass
class WrapperConfig:
    """One wrapper: a class that takes the environment first.

    Args:
        class_path: import path of the wrapper class, such as ``gymnasium.wrappers.FlattenObservation``.
        init_args: its other arguments.
    """

    class_path: str
    init_args: dict = field(default_factory=dict)  # type: ignore[type-arg]


@dataclass
class NormalizeConfig:
    """Running normalisation of observations and rewards, with the meaning of SB3's VecNormalize.

    Args:
        obs: normalise observations by their running mean and variance.
        reward: divide rewards by the running standard deviation of the discounted return.
        clip_obs: bound of a normalised observation.
        clip_reward: bound of a normalised reward.
        gamma: discount of the return whose deviation is taken; `null` takes the algorithm's own gamma.
        epsilon: added to the variance.
        keys: which parts of a Dict observation to normalise; `null` takes every part that is not an image.
    """

    obs: bool = False
    reward: bool = False
    clip_obs: float = 10.0
    clip_reward: float = 10.0
    gamma: float | None = None
    epsilon: float = 1e-8
    keys: list[str] | None = None


@dataclass
class EnvConfig:
    """The environments of a run.

    Args:
        id: a gymnasium id such as `CartPole-v1`, or `module:Id` to import the module that registers it first.
        class_path: import path of an environment class, instead of `id`.
        kwargs: keyword arguments of the environment.
        n_envs: how many environments the whole run has, over all ranks.
        backend: `sync` steps them in this process, `async` in worker processes, `native` uses the environment's own
            vectorised form; `auto` chooses among those that resume exactly.
        n_workers: worker processes of the `async` backend; `null` takes one per core, at most one per environment.
        wrappers: wrappers, applied in the order written: `class_path` and `init_args` of each.
        normalize: running normalisation.
        atari: SB3's Atari preprocessing (no-op starts, frame skip 4, 84x84 grey, lives, reward sign).
        frame_stack: the last K observations as one, zeros before an episode's start, as SB3's VecFrameStack.
        max_episode_steps: time limit; `null` keeps the environment's own.
        fresh_instance: make the environment anew for every episode, for environments that carry state across resets.
        global_streams: which global random streams of Python, NumPy and torch an environment draws from: `own` gives
            each its own, seeded by every episode; `shared` leaves those of the process, which no seed of the run
            reaches; `auto` takes `own` where the look before the run sees an environment draw from them.
        step_timeout: seconds that one step, reset or look at an environment may take before it counts as hung; `null`
            waits for ever. It needs worker processes, which `auto` then takes.
        on_env_crash: what to do when an environment raises, dies or hangs: `stop` saves the state before the iteration
            and ends with exit code 75; `restart` makes it anew and begins its next episode.
        max_restarts: with `restart`, how many come in a row, without a whole iteration between, before the run stops.
    """

    FREE: ClassVar = ("backend", "n_workers", "step_timeout", "on_env_crash", "max_restarts")
    """May change at a resume: they do not change what is learned."""

    id: str | None = None
    class_path: str | None = None
    kwargs: dict = field(default_factory=dict)  # type: ignore[type-arg]
    n_envs: int = 1
    backend: Backend = "auto"
    n_workers: int | None = None
    wrappers: list = field(default_factory=list)  # type: ignore[type-arg]
    normalize: NormalizeConfig = field(default_factory=NormalizeConfig)
    atari: bool = False
    frame_stack: int | None = None
    max_episode_steps: int | None = None
    fresh_instance: bool = False
    global_streams: GlobalStreams = "auto"
    step_timeout: float | None = None
    on_env_crash: OnCrash = "stop"
    max_restarts: int = 10

    def __post_init__(self) -> None:
        self.wrappers = [_wrapper(wrapper, i) for i, wrapper in enumerate(self.wrappers)]
        if self.n_envs < 1:
            raise ConfigError(f"env.n_envs is {self.n_envs}; at least 1 environment is needed.")
        if self.n_workers is not None and self.n_workers < 1:
            raise ConfigError(f"env.n_workers is {self.n_workers}; give at least 1, or null for one per core.")
        if self.frame_stack is not None and self.frame_stack < 1:
            raise ConfigError(f"env.frame_stack is {self.frame_stack}; give at least 1, or null for none.")
        if self.id is not None and self.class_path is not None:
            raise ConfigError("env.id and env.class_path are both given; keep one of them.")
        if self.backend == "native" and (self.wrappers or self.atari or self.frame_stack or self.fresh_instance):
            raise ConfigError(
                "env.backend: native steps all environments in one array and takes no wrappers, atari, frame_stack "
                "or fresh_instance; remove them or use backend: sync."
            )
        if self.global_streams not in get_args(GlobalStreams):
            raise ConfigError(
                f"env.global_streams: '{self.global_streams}' is not one of {', '.join(get_args(GlobalStreams))}."
                f"{did_you_mean(self.global_streams, get_args(GlobalStreams))}"
            )
        self._check_crashes()

    def _check_crashes(self) -> None:
        if self.step_timeout is not None and self.step_timeout <= 0:
            raise ConfigError(f"env.step_timeout is {self.step_timeout:g}; give seconds above 0, or null for no limit.")
        if self.step_timeout is not None and self.backend in ("sync", "native"):
            raise ConfigError(
                f"env.step_timeout: backend: {self.backend} steps environments in the trainer's own process, which "
                "cannot leave one that hangs; use backend: async, or remove step_timeout."
            )
        if self.on_env_crash not in get_args(OnCrash):
            raise ConfigError(
                f"env.on_env_crash: '{self.on_env_crash}' is not one of {', '.join(get_args(OnCrash))}."
                f"{did_you_mean(self.on_env_crash, get_args(OnCrash))}"
            )
        if self.on_env_crash == "restart" and self.backend == "native":
            raise ConfigError(
                "env.on_env_crash: restart makes single environments anew, and backend: native has none; use "
                "backend: sync or async, or on_env_crash: stop."
            )
        if self.max_restarts < 1:
            raise ConfigError(f"env.max_restarts is {self.max_restarts}; give at least 1, or on_env_crash: stop.")

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EnvConfig:
        """From nested dictionaries, as they stand in a YAML file or a checkpoint."""
        values = dict(plain)
        if isinstance(values.get("normalize"), dict):
            values["normalize"] = NormalizeConfig(**values["normalize"])
        return cls(**values)

    @property
    def name(self) -> str:
        """What to call the environment in messages."""
        return self.id or self.class_path or "?"


def _wrapper(given: Any, index: int) -> WrapperConfig:
    key = f"env.wrappers[{index}]"
    if isinstance(given, str):
        return WrapperConfig(given)
    if isinstance(given, WrapperConfig):
        return given
    values = dict(given)
    known = [field.name for field in fields(WrapperConfig)]
    for name in values:
        if name not in known:
            raise ConfigError(f"{key}: unknown key '{name}'.{did_you_mean(name, known)}")
    if "class_path" not in values:
        raise ConfigError(f"{key}: class_path is missing: name the wrapper's class.")
    return WrapperConfig(**values)
