"""What the `resume` and `warmstart` blocks of a run's YAML say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lit_rl.errors import ConfigError
from lit_rl.ops.limits import at_least, check_record

Mode = Literal["fresh", "resume", "warmstart"]


@dataclass
class ResumeConfig:
    """How a run goes on.

    Args:
        checkpoint: `last` or `best` of the newest run of this `name`, a checkpoint or run directory; or the zip of a
            stable-baselines3 agent, or the directory of one, whose training goes on in a new run directory.
        total_timesteps: a new target, counted from the run's start.
        additional_timesteps: a new target, counted from where the run stood when it was first given: the same amount
            once more, as after a kill, is the same target.
        schedule: what schedules do when the target moves: `keep` their old horizon, `stretch` over the new target,
            `hold` their present value.
        on_config_change: what to do when a setting differs that changes what is learned.
        require: `exact` refuses to go on if an episode in flight cannot be brought back.
        strict: refuse a damaged newest checkpoint instead of going back to an older one.
        fork: begin a new run in a directory of its own that goes on exactly from the checkpoint, and leave the run it
            belongs to as it is.
        vecnormalize: of a zip, its VecNormalize pickle; `null` looks where SB3 and the RL Zoo put it.
        replay: of a zip, its replay pickle; `null` looks where SB3 and the RL Zoo put it.
    """

    LIMITS: ClassVar = {"total_timesteps": at_least(1), "additional_timesteps": at_least(1)}

    checkpoint: str = "last"
    total_timesteps: int | None = None
    additional_timesteps: int | None = None
    schedule: Literal["keep", "stretch", "hold"] = "keep"
    on_config_change: Literal["error", "warn", "accept"] = "error"
    require: Literal["boundary", "exact"] = "boundary"
    strict: bool = False
    fork: bool = False
    vecnormalize: str | None = None
    replay: str | None = None

    def __post_init__(self) -> None:
        check_record(self, "resume")
        if self.total_timesteps is not None and self.additional_timesteps is not None:
            raise ConfigError(
                "resume.total_timesteps and resume.additional_timesteps are both given; keep one: the first counts "
                "from the run's start, the second from the checkpoint."
            )


@dataclass
class WarmstartConfig:
    """What a new run takes from a trained one.

    Args:
        checkpoint: a checkpoint or run directory, a bare `.ckpt` file, or a stable-baselines3 `.zip`.
        load: which parts: `policy`, `value`, `obs_moments`, `reward_moments`, and what else the algorithm has, such as
            `temperature` and `replay`.
        vecnormalize: the VecNormalize pickle of a `.zip`; `null` looks where SB3 and the RL Zoo put it.
        replay: a replay pickle of stable-baselines3, for the part `replay`; `null` takes the checkpoint's own, and of a
            `.zip` looks where SB3 and the RL Zoo put it.
        on_mismatch: what to do with a tensor of another shape: `error`, or `skip` it and say so.
        level: the curriculum's level to begin on: its index, or `carry` for the one that the trained run was on.
    """

    LIMITS: ClassVar = {"level": at_least(0)}

    checkpoint: str | None = None
    load: list[str] = field(default_factory=lambda: ["policy", "value", "obs_moments"])
    vecnormalize: str | None = None
    replay: str | None = None
    on_mismatch: Literal["error", "skip"] = "error"
    level: int | Literal["carry"] = 0

    def __post_init__(self) -> None:
        check_record(self, "warmstart")
        if self.replay is not None and "replay" not in self.load:
            raise ConfigError(
                "warmstart.replay is given, and warmstart.load does not name replay; add it, or remove it."
            )
