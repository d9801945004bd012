"""What several tests share: small environments, and PPO without a Trainer."""
