"""Policies of stable-baselines3's and sb3-contrib's files by the names that `model.policy` takes."""

from __future__ import annotations

from lit_rl.interop.sb3 import Agent
from lit_rl.interop.zoo import ZooSettings

_ACTOR_CRITIC = {
    "ActorCritic": "MlpPolicy",
    "ActorCriticCnn": "CnnPolicy",
    "MultiInputActorCritic": "MultiInputPolicy",
}
_POLICIES = {
    **{f"{name}Policy": policy for name, policy in _ACTOR_CRITIC.items()},
    **{f"Maskable{name}Policy": policy for name, policy in _ACTOR_CRITIC.items()},
    **{f"Recurrent{name}Policy": policy.replace("Policy", "LstmPolicy") for name, policy in _ACTOR_CRITIC.items()},
    **dict.fromkeys(("DQNPolicy", "SACPolicy", "TD3Policy", "QRDQNPolicy", "TQCPolicy", "CrossQPolicy"), "MlpPolicy"),
    "ARSPolicy": "MlpPolicy",
    "ARSLinearPolicy": "LinearPolicy",
    **{name: name for name in ("CnnPolicy", "MultiInputPolicy")},
}
"""By the names of their classes."""


def policy_name(agent: Agent | None, zoo: ZooSettings | None) -> str | None:
    """The agent's, or the Zoo's; `None` where neither says one that there is."""
    own = _POLICIES.get((agent.policy_class or "").rsplit(".", 1)[-1]) if agent else None
    name = own or (zoo.policy if zoo else None)
    return name if name in _POLICIES.values() else None
