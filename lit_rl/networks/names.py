"""What `model.policy` may be named."""

from __future__ import annotations

from collections.abc import Collection

from lit_rl.errors import ConfigError, did_you_mean


def check_policy_name(policy: str, known: Collection[str]) -> None:
    """Refuse a name that is neither one of `known` nor an import path.

    Raises:
        ConfigError: names the nearest one.
    """
    if policy not in known and "." not in policy and ":" not in policy:
        raise ConfigError(f"model.policy: '{policy}' is not one of {', '.join(known)}.{did_you_mean(policy, known)}")
