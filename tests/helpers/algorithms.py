"""Algorithms of a user's own, named by import path."""

from lit_rl import PPO


class OtherPPO(PPO):
    """The same under another name."""
