"""QR-DQN, TQC and CrossQ beside sb3-contrib's: an update, and a whole short run, in every setting with a branch."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from lit_rl.errors import ConfigError
from lit_rl.interop.settings import sb3_class
from tests.helpers import envs
from tests.helpers.beside_off_policy import assert_equal_runs
from tests.helpers.off_policy import assert_equal_updates, play, twin_of
from tests.helpers.on_policy import make

quantile_huber_loss = pytest.importorskip("sb3_contrib.common.utils").quantile_huber_loss

from lit_rl import QRDQN, TQC, CrossQ  # noqa: E402  they need it

SMALL = {"net_arch": [16, 16]}
FEW, MORE = {**SMALL, "n_quantiles": 7}, {**SMALL, "n_quantiles": 5, "n_critics": 3}
SETTINGS = {"learning_rate": 1e-2, "batch_size": 16, "buffer_size": 90, "learning_starts": 0, "seed": 3,
            "total_timesteps": 1000, "policy_kwargs": SMALL}  # fmt: skip
DICT = {"policy": "MultiInputPolicy", "learning_rate": 1e-3}
STEADY = {**SMALL, "optimizer_kwargs": {"betas": (0.5, 0.999), "eps": 1e-3}}
"""A bias before a norm has the gradient 0 but for roundings, of which Adam would make steps as long as any."""
UPDATES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "QRDQN": (QRDQN, "Noisy", {"target_update_interval": 10, "policy_kwargs": FEW}),
    "QRDQN, one quantile": (QRDQN, "Noisy", {"policy_kwargs": {**SMALL, "n_quantiles": 1}}),
    "QRDQN of windows": (QRDQN, "Noisy", {"n_steps": 3, "gamma": 0.9, "max_grad_norm": 0.05}),
    "QRDQN, soft target": (QRDQN, "Noisy", {"tau": 0.3, "target_update_interval": 6, "learning_rate": "lin_1e-2"}),
    "QRDQN, autograd": (QRDQN, "Noisy", {"fast": False, "policy_kwargs": FEW}),
    "QRDQN, own optimizer": (QRDQN, "Noisy", {"policy_kwargs": {**FEW, "optimizer_class": "torch.optim.RMSprop"}}),
    "QRDQN, Dict": (QRDQN, "NoisyDict", {**DICT}),
    "QRDQN, images": (QRDQN, "SmallImages", {"policy": "CnnPolicy", "learning_rate": 1e-3, "policy_kwargs": {
        "n_quantiles": 5, "features_extractor_kwargs": {"features_dim": 16}}}),
    "TQC": (TQC, "NoisyBox", {}),
    "TQC, none dropped": (TQC, "NoisyBox", {"top_quantiles_to_drop_per_net": 0, "ent_coef": 0.2}),
    "TQC, three critics": (TQC, "NoisyBox", {"top_quantiles_to_drop_per_net": 4, "policy_kwargs": MORE}),
    "TQC, one quantile": (TQC, "NoisyBox", {"top_quantiles_to_drop_per_net": 0,
                                           "policy_kwargs": {**SMALL, "n_quantiles": 1}}),
    "TQC of windows": (TQC, "NoisyBox", {"n_steps": 3, "ent_coef": "auto_0.1", "target_entropy": -0.3}),
    "TQC, autograd": (TQC, "NoisyBox", {"fast": False, "policy_kwargs": MORE}),
    "TQC, Dict": (TQC, "NoisyBoxDict", {**DICT}),
    "TQC, shared extractor": (TQC, "NoisyBoxDict", {**DICT, "policy_kwargs": {**SMALL,
                                                                             "share_features_extractor": True}}),
    "TQC, rare targets": (TQC, "NoisyBox", {"target_update_interval": 3, "target_update_per_call": True}),
    "TQC, gSDE": (TQC, "NoisyBox", {"use_sde": True}),
    "TQC, hindsight": (TQC, "Reach", {**DICT, "her": True}),
    "CrossQ": (CrossQ, "NoisyBox", {"policy_kwargs": STEADY}),
    "CrossQ, every time": (CrossQ, "NoisyBox", {"policy_delay": 1, "ent_coef": 0.2, "policy_kwargs": STEADY}),
    "CrossQ, past the warmup": (CrossQ, "NoisyBox", {"policy_kwargs": {**STEADY, "renorm_warmup_steps": 3},
                                                     "learning_rate": "lin_1e-2"}),
    "CrossQ, no norms": (CrossQ, "NoisyBox", {"policy_kwargs": {**SMALL, "batch_norm": False}}),
    "CrossQ, three critics": (CrossQ, "NoisyBox", {"policy_kwargs": {**STEADY, "n_critics": 3}, "policy_delay": 2}),
    "CrossQ of windows": (CrossQ, "NoisyBox", {"policy_kwargs": STEADY, "n_steps": 3, "ent_coef": "auto_0.1",
                                               "target_entropy": -0.3}),
    "CrossQ, gSDE": (CrossQ, "NoisyBox", {"use_sde": True, "policy_kwargs": STEADY}),
}  # fmt: skip
RUNS: dict[str, tuple[type, int, dict[str, Any]]] = {
    "QRDQN": (QRDQN, 1, {"target_update_interval": 30, "exploration_fraction": 0.5}),
    "QRDQN, several": (QRDQN, 3, {"target_update_interval": 50, "gradient_steps": -1, "share_exploration": True,
                                  "policy_kwargs": FEW}),
    "QRDQN of windows": (QRDQN, 2, {"n_steps": 3, "train_freq": 3, "gradient_steps": 2, "tau": 0.5}),
    "TQC": (TQC, 1, {}),
    "TQC, several, moments": (TQC, 2, {"gradient_steps": -1, "train_freq": 2, "ent_coef": "auto_0.5"}),
    "CrossQ": (CrossQ, 1, {"policy_kwargs": {**STEADY, "renorm_warmup_steps": 200}}),
    "CrossQ, several, moments": (CrossQ, 2, {"gradient_steps": -1, "train_freq": 2, "policy_delay": 2,
                                             "policy_kwargs": STEADY}),
}  # fmt: skip


def ours_of(case: str, **more: Any) -> Any:
    cls, env, settings = UPDATES[case]
    where = {"class_path": envs.PATH + env, "n_envs": 3, "max_episode_steps": 9}
    return make(cls, where, **{**SETTINGS, **settings, **more})


@pytest.mark.parametrize("case", UPDATES)
def test_an_update_equals_contribs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ours_of(case)
    assert_equal_updates(ours, twin_of(ours, UPDATES[case][2].get("policy", "MlpPolicy")), monkeypatch)


@pytest.mark.parametrize("case", RUNS)
def test_a_run_takes_the_same_updates(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_equal_runs(*RUNS[case], "moments" in case, monkeypatch)


def test_optimizers_are_those_of_the_papers() -> None:
    qrdqn, adamw = (ours_of("QRDQN", policy_kwargs={**FEW, **more}).optimizers().defaults
                    for more in ({}, {"optimizer_class": "torch.optim.AdamW"}))  # fmt: skip
    assert (qrdqn["eps"], adamw["eps"]) == (0.01 / 16, 1e-8)
    given = ours_of("QRDQN", policy_kwargs={**FEW, "optimizer_kwargs": {"weight_decay": 0.1}}).optimizers().defaults
    assert (given["eps"], given["weight_decay"]) == (0.01 / 16, 0.1)
    assert [each.defaults["betas"] for each in ours_of("CrossQ", policy_kwargs=SMALL).optimizers()[:2]] == [
        (0.5, 0.999)
    ] * 2


@pytest.mark.parametrize("case", ["QRDQN", "TQC"])
def test_a_prioritized_update_weighs_its_batch_and_ranks_it_by_means(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is the weighted mean of sb3-contrib's of each transition alone."""
    ours = ours_of(case, prioritized_replay={"alpha": 0.6, "beta": 0.5, "epsilon": 0.01})
    play(ours, 8)
    ours.learn(5)
    batch, seen, prioritize = next(ours.batches(1)), [], ours.prioritize
    monkeypatch.setattr(
        ours,
        "prioritize",
        lambda batch, *given: (seen.extend(each.clone() for each in given), prioritize(batch, *given)),
    )
    found = ours.learn(1)
    value, target = seen
    value = value.transpose(0, 1) if case == "TQC" else value[:, None]  # [B, K, Q]
    each = [
        quantile_huber_loss(v[None], t[None, None], sum_over_quantiles=case == "QRDQN")
        for v, t in zip(value, target, strict=True)
    ]
    assert batch.weight.std() > 0.01
    mean = (batch.weight * torch.stack(each)).mean()
    assert found["train/loss" if case == "QRDQN" else "train/critic_loss"] == pytest.approx(float(mean), rel=1e-4)
    error = (value.mean(dim=2) - target.mean(dim=1, keepdim=True)).abs().mean(dim=1)
    places = zip((batch.at.row - ours.replay.begin).tolist(), batch.at.env.tolist(), strict=True)
    newest = dict(zip(places, ((error + 0.01) ** 0.6).tolist(), strict=True))  # sampled twice: the later counts
    now = ours.priorities.columns(ours.replay.begin, ours.replay.end)["priority"]
    assert all(now[at] == pytest.approx(priority, rel=1e-4) for at, priority in newest.items())


@pytest.mark.parametrize(("case", "over", "text"), [
    ("TQC", {"top_quantiles_to_drop_per_net": 25}, "model.top_quantiles_to_drop_per_net is 25, and each critic has 25"),
    ("TQC", {"top_quantiles_to_drop_per_net": -1}, "model.top_quantiles_to_drop_per_net"),
    ("CrossQ", {"policy_delay": 0}, "model.policy_delay"),
    ("CrossQ", {"batch_size": 1}, "model.batch_size is 1; it must be at least 2"),
    ("QRDQN", {"policy_kwargs": {"n_quantiles": 0}}, "model.policy_kwargs.n_quantiles is 0; it must be at least 1"),
    ("CrossQ", {"fast": True}, "model.fast: these networks cannot have it: CrossQ's have batch renormalisation"),
    ("CrossQ", {"policy": "CnnPolicy"}, "model.policy"),
    ("QRDQN", {"policy_kwargs": {"n_quantile": 5}}, "Did you mean 'n_quantiles'"),
    ("QRDQN", {"policy_kwargs": {"net_arch": {"pi": [4]}}}, "net_arch: is one list of widths"),
    ("TQC", {"policy_kwargs": {"net_arch": {"pi": [4], "vf": [4]}}}, "net_arch: unknown key 'vf'; it takes pi and qf"),
])  # fmt: skip
def test_mistakes_name_the_setting(case: str, over: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ours_of(case, **over)


@pytest.mark.parametrize(("cls", "env"), [(QRDQN, "NoisyBox"), (TQC, "Noisy"), (CrossQ, "NoisyMultiDiscrete")])
def test_actions_that_it_is_not_for_are_refused(cls: Any, env: str) -> None:
    with pytest.raises(ConfigError, match=f"model: {cls.__name__} is for"):
        make(cls, {"class_path": envs.PATH + env, "n_envs": 1}, total_timesteps=100)


@pytest.mark.parametrize("cls", [QRDQN, TQC, CrossQ])
def test_settings_and_defaults_are_contribs(cls: type) -> None:
    theirs = inspect.signature(sb3_class(cls).__init__).parameters
    ours = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    not_ours = {"self", "env", "policy", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage",
                "action_noise", "stats_window_size", "tensorboard_log", "verbose", "device", "_init_setup_model",
                "seed", "policy_kwargs"}  # fmt: skip
    assert {*theirs} - not_ours <= {*ours}
    for name in {*theirs} - not_ours:
        assert ours[name].default == theirs[name].default, name
