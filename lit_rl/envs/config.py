"""What the `env` block of a run's YAML says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from lit_rl.errors import ConfigError
from lit_rl.ops.limits import above, at_least, between, check_names, check_record, known_only, shown

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

    LIMITS: ClassVar = {
        "clip_obs": above(0, infinite=True),
        "clip_reward": above(0, infinite=True),
        "gamma": between(0, 1),
        "epsilon": above(0),
    }

    obs: bool = False
    reward: bool = False
    clip_obs: float = 10.0
    clip_reward: float = 10.0
    gamma: float | None = None
    epsilon: float = 1e-8
    keys: list[str] | None = None

    def __post_init__(self) -> None:
        check_record(self, "env.normalize")


@dataclass
class EnvConfig:
    """The environments of a run.

    Args:
        id: a gymnasium id such as `CartPole-v1`, or `module:Id` to import the module that registers it first.
        class_path: import path of an environment class, instead of `id`.
        kwargs: keyword arguments of the environment.
        n_envs: how many environments the whole run has, over all ranks.
        backend: `sync` steps them in this process, `async` in worker processes, `native` uses the environment's own
            vectorised form; `auto` takes the faster of the first two.
        n_workers: worker processes of the `async` backend, which then have all environments; `null` takes one per core,
            at most one per environment, of which the trainer is one, unless an environment may take its process down
            (`step_timeout`, `on_env_crash: restart`).
        wrappers: wrappers, applied in the order written: `class_path` and `init_args` of each.
        normalize: running normalisation.
        atari: SB3's Atari preprocessing (no-op starts, frame skip 4, 84x84 grey, lives, reward sign).
        frame_stack: the last K observations as one, zeros before an episode's start, as SB3's VecFrameStack.
        action_masks: whether environments say which actions are allowed at the moment, by a method `action_masks()` of
            their own or of a wrapper, as for sb3-contrib; for on-policy algorithms, of which MaskablePPO sets it.
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

    ITEMS: ClassVar = {"wrappers": str | WrapperConfig}
    """What a list holds whose type does not say it."""

    FREE: ClassVar = ("backend", "n_workers", "step_timeout", "on_env_crash", "max_restarts")
    """May change at a resume: they do not change what is learned."""

    LIMITS: ClassVar = {
        "n_envs": at_least(1),
        "n_workers": at_least(1),
        "frame_stack": at_least(1),
        "max_episode_steps": at_least(1),
        "step_timeout": above(0),
        "max_restarts": at_least(1),
    }

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
    action_masks: bool = False
    max_episode_steps: int | None = None
    fresh_instance: bool = False
    global_streams: GlobalStreams = "auto"
    step_timeout: float | None = None
    on_env_crash: OnCrash = "stop"
    max_restarts: int = 10

    def __post_init__(self) -> None:
        check_record(self, "env")
        check_names(self.kwargs, "env.kwargs")
        self.wrappers = [_wrapper(wrapper, i) for i, wrapper in enumerate(self.wrappers)]
        if self.id is not None and self.class_path is not None:
            raise ConfigError("env.id and env.class_path are both given; keep one of them.")
        if self.backend == "native" and (self.wrappers or self.atari or self.frame_stack or self.fresh_instance):
            raise ConfigError(
                "env.backend: native steps all environments in one array and takes no wrappers, atari, frame_stack "
                "or fresh_instance; remove them or use backend: sync."
            )
        if self.backend == "native" and self.action_masks:
            raise ConfigError(
                "env.action_masks: backend: native steps all environments in one array, which has no masks; use "
                "backend: sync or async."
            )
        self._check_crashes()

    def with_kwargs(self, own: Mapping[str, Any]) -> EnvConfig:
        """The same environments made with other keyword arguments over these, such as a level's."""
        return replace(self, kwargs={**self.kwargs, **own}) if own else self

    def _check_crashes(self) -> None:
        if self.step_timeout is not None and self.backend in ("sync", "native"):
            raise ConfigError(
                f"env.step_timeout: backend: {self.backend} steps environments in the trainer's own process, which "
                "cannot leave one that hangs; use backend: async, or remove step_timeout."
            )
        if self.on_env_crash == "restart" and self.backend == "native":
            raise ConfigError(
                "env.on_env_crash: restart makes single environments anew, and backend: native has none; use "
                "backend: sync or async, or on_env_crash: stop."
            )

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EnvConfig:
        """From nested dictionaries, as they stand in a YAML file or a checkpoint."""
        values = known_only(plain, cls, "env")
        if isinstance(values.get("normalize"), dict):
            values["normalize"] = NormalizeConfig(**known_only(values["normalize"], NormalizeConfig, "env.normalize"))
        return cls(**values)

    @property
    def n_stack(self) -> int:
        """Frames in an observation; 1 without stacking."""
        return self.frame_stack or (4 if self.atari else 1)

    @property
    def name(self) -> str:
        """What to call the environment in messages."""
        return self.id or self.class_path or "?"


def _wrapper(given: Any, index: int) -> WrapperConfig:
    key = f"env.wrappers[{index}]"
    if isinstance(given, str):
        given = WrapperConfig(given)
    if not isinstance(given, WrapperConfig):
        if not isinstance(given, Mapping):
            raise ConfigError(f"{key}: expected a class_path, or class_path and init_args, got {shown(given)}.")
        values = known_only(given, WrapperConfig, key)
        if "class_path" not in values:
            raise ConfigError(f"{key}: class_path is missing: name the wrapper's class.")
        if values.get("init_args") is None:
            values["init_args"] = {}
        given = WrapperConfig(**values)
    check_record(given, key)
    check_names(given.init_args, f"{key}.init_args")
    wrapper: WrapperConfig = given
    return wrapper
