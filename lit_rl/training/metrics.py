"""Every metric that a run logs: the one list of names, for callbacks that name one and for the docs."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

METRICS: dict[str, str] = {
    "rollout/ep_rew_mean": "mean return of the last 100 finished episodes; ARS: of those of one step of the search",
    "rollout/ep_len_mean": "mean length of the same episodes, in steps",
    "rollout/success_rate": "share of them whose last info says `is_success` (or `success`)",
    "rollout/exploration_rate": "DQN, QR-DQN: share of random actions",
    "eval/mean_reward": "mean return of the last evaluation's episodes",
    "eval/mean_ep_length": "their mean length, in steps",
    "eval/success_rate": "share of them that succeeded",
    "eval/level_*/mean_reward": "the same level by level, with `eval.level: all`",
    "eval/level_*/mean_ep_length": "the same level by level, with `eval.level: all`",
    "eval/level_*/success_rate": "the same level by level, with `eval.level: all`",
    "train/learning_rate": "learning rate of this update",
    "train/n_updates": "passes over a rollout, or gradient steps of an off-policy algorithm, since the run began",
    "train/loss": "loss of the last minibatch (PPO), mean loss of the update's gradient steps (DQN, QR-DQN)",
    "train/policy_gradient_loss": "PPO: mean clipped surrogate loss",
    "train/policy_loss": "A2C: policy gradient loss",
    "train/policy_objective": "TRPO: the actor's surrogate after its step",
    "train/kl_divergence_loss": "TRPO: how far the step moved the policy; 0 where none was taken",
    "train/is_line_search_success": "TRPO: 1 where a step was taken, 0 where none could be trusted",
    "train/iterations": "ARS: steps of the search before this one",
    "train/delta_std": "ARS: how far candidates lie from the weights",
    "train/step_size": "ARS: `learning_rate` over `n_top` and the deviation of the returns",
    "rollout/return_std": "ARS: deviation of the returns that the step was taken on",
    "train/value_loss": "PPO, A2C, TRPO: squared error of the value function",
    "train/entropy_loss": "PPO, A2C: minus the mean entropy of the policy",
    "train/approx_kl": "PPO: approximate KL divergence between old and new policy, in the last epoch",
    "train/clip_fraction": "PPO: share of ratios that were clipped",
    "train/clip_range": "PPO: clip range of this update",
    "train/clip_range_vf": "PPO: clip range of the value function",
    "train/explained_variance": "share of the returns' variance that the value function explains; 1 is perfect",
    "train/std": "mean standard deviation of the actions' distribution",
    "train/actor_loss": "SAC, TQC, CrossQ, TD3, DDPG: mean loss of the actor over the update",
    "train/critic_loss": "SAC, TQC, CrossQ, TD3, DDPG: mean loss of the critics over the update",
    "train/ent_coef": "SAC, TQC, CrossQ: mean temperature over the update",
    "train/ent_coef_loss": "SAC, TQC, CrossQ: mean loss of the temperature, where it is learned",
    "train/bad_updates": "minibatches skipped so far because loss or gradient was not finite; absent while 0",
    "train/param_resets": "resets of the networks so far (`model.param_resets`)",
    "time/total_timesteps": "steps of single environments since the run began",
    "time/iterations": "cycles of a rollout and its update since the run began",
    "time/episodes": "off-policy: finished episodes since the run began",
    "time/fps": "timesteps a second in this segment",
    "time/time_elapsed": "seconds spent training, over all segments",
    "env/restarts": "how often a lost environment was made anew; absent while 0",
    "curriculum/level": "index of the current level",
    "curriculum/timesteps": "timesteps spent on it since the last change",
    "curriculum/episodes": "episodes finished on it since the last change",
    "curriculum/probability/*": "share of the coming episodes that is played on a level, where levels are drawn",
    "curriculum/success_rate/*": "success on a level over its window, where levels are drawn",
    "curriculum/envs/*": "share of the environments on a level, on a ladder",
    "curriculum/ever_top": "share of the environments that ever went above the top of a ladder",
    "curriculum/low/*": "lower bound of a parameter that adapts, and `curriculum/high/*` the upper one",
    "curriculum/npd": "mean of the logarithms of the widths of such bounds",
    "curriculum/*": "progress of the promotion rule, and of the demotion rule as `demote_*`",
}
"""What each means, by name; a `*` stands for any text."""

FAMILIES = tuple(dict.fromkeys(name.partition("/")[0] for name in METRICS))
"""What names of metrics begin with."""


def is_metric(name: str) -> bool:
    """Whether a run may log a metric of this name."""
    return any(fnmatch.fnmatchcase(name, each) for each in METRICS)


def show(trainer: Trainer | None, metrics: dict[str, float]) -> None:
    """Let callbacks find metrics where Lightning's are; those of an earlier iteration stay, as Lightning's do."""
    if trainer is not None:
        import torch  # the names alone need none

        values = torch.tensor([*metrics.values()], dtype=torch.float64).unbind()
        shown = dict(zip(metrics, values, strict=True))
        trainer.callback_metrics.update(shown)
        trainer.logged_metrics.update(shown)
