"""The parameters of a curriculum whose bounds adapt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lit_rl.curriculum.assignment import made_values
from lit_rl.curriculum.bounds import AdaptiveBounds
from lit_rl.curriculum.config import CurriculumConfig
from lit_rl.curriculum.levels import Level
from lit_rl.curriculum.values import Adapting
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import refuse_unknown

KEY = "curriculum.adr"
_OPTIONS = ("widen", "narrow", "metric", "queue", "boundary")
_METRIC = "success_rate"


def adapting(config: CurriculumConfig, levels: Sequence[Level]) -> AdaptiveBounds | None:
    """The bounds that `curriculum.adr` moves; `None` where no parameter has such.

    Raises:
        ConfigError: there are parameters and no block, or the other way round, or a mistake in one of both.
    """
    options: dict[str, Any] = {}
    for i, level in enumerate(levels):
        for name, made in made_values(level).items():
            if isinstance(made, Adapting) and options.setdefault(name, made.options) != made.options:
                raise ConfigError(f"curriculum: level {i} '{level.name}' gives '{name}' other bounds; give the same.")
    if not options and config.adr is None:
        return None
    if not options:
        raise ConfigError("curriculum.adr: no parameter is given as {adr: {start, limits, step}}; remove it.")
    if config.adr is None:
        raise ConfigError("curriculum.adr: missing; say when bounds move: {widen: 0.8, narrow: 0.4}.")
    refuse_unknown(config.adr, _OPTIONS, KEY)
    for name in ("widen", "narrow"):
        if name not in config.adr:
            raise ConfigError(f"{KEY}.{name}: missing; say at which {config.adr.get('metric', _METRIC)} bounds move.")
    return AdaptiveBounds(options, **config.adr, key=KEY)
