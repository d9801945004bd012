"""Environment ids that gymnasium has retired, and those of today."""

from __future__ import annotations

_MUJOCO = "observations, rewards or physics differ between these versions: measure before you trust it"
RENAMED: dict[str, tuple[str, str]] = {
    "LunarLander-v2": ("LunarLander-v3", "the same task with its wind repaired"),
    "LunarLanderContinuous-v2": ("LunarLanderContinuous-v3", "the same task with its wind repaired"),
    "BipedalWalker-v2": ("BipedalWalker-v3", "the same task"),
    "BipedalWalkerHardcore-v2": ("BipedalWalkerHardcore-v3", "the same task"),
    "Pendulum-v0": ("Pendulum-v1", "the same task"),
    "CarRacing-v0": ("CarRacing-v3", "its pixels and steps changed: measure before you trust it"),
    "CarRacing-v2": ("CarRacing-v3", "its resets changed"),
    "FrozenLake-v0": ("FrozenLake-v1", "the same task"),
    "Taxi-v3": ("Taxi-v4", "the same task"),
    "CliffWalking-v0": ("CliffWalking-v1", "the same task"),
    "Blackjack-v0": ("Blackjack-v1", "the same task"),
    **{
        f"{name}-{version}": (f"{name}-v5", _MUJOCO)
        for name in ("Ant", "HalfCheetah", "Hopper", "Humanoid", "Swimmer", "Walker2d")
        for version in ("v1", "v2", "v3")
    },
    **{
        f"{name}-v2": (f"{name}-v5", _MUJOCO)
        for name in ("HumanoidStandup", "InvertedDoublePendulum", "InvertedPendulum", "Pusher", "Reacher")
    },
}
"""The id of today, and what differs, by the old one."""


def successor(name: str) -> str:
    """A sentence naming the id of today, or an empty string where there is none."""
    if name not in RENAMED:
        return ""
    new, note = RENAMED[name]
    return f" It is {new} today ({note})."
