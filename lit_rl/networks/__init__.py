"""Networks: stable-baselines3's policies, on the hot path without their distribution objects."""
