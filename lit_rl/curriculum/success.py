"""Whether an episode was a success."""

from __future__ import annotations

from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError


def success_of(outcome: Episode, what: str, instead: str) -> float:
    """1.0 or 0.0, as the environment says.

    Args:
        outcome: the episode.
        what: needs to know, such as `a rule on success_rate`.
        instead: what could be done where the environment does not say.

    Raises:
        ConfigError: the environment does not say.
    """
    if outcome.success is None:
        raise ConfigError(
            f"curriculum: {what} needs info['is_success'] at each episode's end, and "
            f"environment {outcome.env_index} gave none; report it, or {instead}."
        )
    return float(outcome.success)
