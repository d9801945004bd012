"""stable-baselines3's off-policy algorithms beside ours: with the same weights, transitions and draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from lit_rl.algorithms.off_policy import OffPolicy
from lit_rl.algorithms.sac import SAC
from tests.helpers.on_policy import sb3_twin, weights


def twin_of(ours: OffPolicy, policy: str = "MlpPolicy", **changes: Any) -> Any:
    """SB3's algorithm of the same name with the settings and weights of ours, and as little memory as will do."""
    if isinstance(ours, SAC):
        changes = {"ent_coef": ours.hparams["ent_coef"], **changes}
    twin = sb3_twin(ours, policy, **{"buffer_size": 100, **changes})
    twin.policy.load_state_dict(ours.policy.state_dict())
    return twin


def samples(ours: OffPolicy) -> ReplayBufferSamples:
    """The batch of our next gradient step, as SB3's buffer would give it."""
    batch = next(ours.batches(1))
    steps = ours.replay.steps(batch.at, ours.n_steps)
    action = batch.action[:, None] if batch.action.dim() == 1 else batch.action
    return ReplayBufferSamples(
        observations=batch.obs,
        actions=action,
        next_observations=batch.next_obs,
        dones=torch.tensor(steps.terminated[:, None], dtype=torch.float32),
        rewards=batch.reward[:, None],
        discounts=torch.tensor(ours.gamma ** steps.length[:, None], dtype=torch.float32),
    )


def sb3_train(twin: Any, ours: OffPolicy, steps: int, monkeypatch: Any) -> dict[str, Any]:
    """SB3's own `train` with the batches and the noise of our next gradient steps; returns what it logs."""
    first = ours.counters.updates
    batches, drawn = [], []
    for i in range(steps):
        ours.counters.updates = first + i
        batches.append(samples(ours))
        drawn += samples_noise(ours)
    ours.counters.updates = first
    given, noise = iter(batches), iter(drawn)
    twin.num_timesteps = ours.counters.timesteps
    twin._update_current_progress_remaining(ours.counters.timesteps, ours.clock.target)
    with monkeypatch.context() as patch:
        patch.setattr(twin.replay_buffer, "sample", lambda *_, **__: next(given))
        patch.setattr(torch.distributions.normal, "_standard_normal", standard_normal(noise))
        patch.setattr(torch.Tensor, "normal_", lambda self, _, std: self.copy_(next(noise) * std))
        twin.train(steps, ours.batch_size)
    return dict(twin.logger.name_to_value)


def samples_noise(ours: Any) -> list[torch.Tensor]:
    """The noise of our next gradient step, in the order in which SB3 draws it."""
    if not hasattr(ours, "noises"):
        return []
    drawn = torch.tensor(ours.noises[ours.counters.updates])
    if not isinstance(ours, SAC) or ours.use_sde:
        return [drawn]
    if not hasattr(ours, "critics_target"):  # CrossQ draws for what comes after first, and not always for the rest
        turn = (ours.counters.updates + 1) % ours.policy_delay == 0
        return [drawn[1], drawn[0]] if turn else [drawn[1]]
    return list(drawn)


def standard_normal(noise: Iterator[torch.Tensor]) -> Callable[..., torch.Tensor]:
    """In the place of the function behind torch's Normal."""

    def drawn(shape: Any, dtype: Any, device: Any) -> torch.Tensor:
        if len(shape) == 3:  # SB3 draws matrices for environments, too, and does not use them in an update
            return torch.zeros(shape)
        return next(noise).reshape(shape)

    return drawn


def differences(twin: Any, ours: OffPolicy) -> dict[str, float]:
    """The largest difference of each tensor."""
    theirs = twin.policy.state_dict()
    found = {name: float((tensor - theirs[name]).abs().max()) for name, tensor in ours.policy.state_dict().items()}
    if getattr(ours, "log_ent_coef", None) is not None:
        found["log_ent_coef"] = float((ours.log_ent_coef - twin.log_ent_coef).detach().abs().max())
    return found


def play(ours: OffPolicy, cycles: int, twin: Any = None) -> None:
    """Collect without learning; SB3's twin is told of the steps."""
    for _ in range(cycles):
        before = ours.replay.end
        ours.collect()
        ours.counters.iterations += 1
        for _ in range(ours.replay.end - before):
            if twin is not None:
                twin._on_step()


def assert_equal_updates(ours: Any, twin: Any, monkeypatch: Any) -> None:
    """Some updates of both, the later ones with the state of the first, leave the same weights and the same log."""
    before = weights(ours.policy)
    for steps in (4, 1, 5):
        play(ours, 10, twin)
        theirs = sb3_train(twin, ours, steps, monkeypatch)
        found = ours.learn(steps)
        assert max(differences(twin, ours).values()) < 2e-5, differences(twin, ours)
        logged = as_numbers(theirs)
        for name in found.keys() & logged.keys():
            assert found[name] == pytest.approx(logged[name], rel=2e-3, abs=1e-5), name
        assert {*found} <= {*logged} | {"train/std"}
    moved = [name for name, tensor in ours.policy.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(moved) > len(before) / 3


def as_numbers(logged: dict[str, Any]) -> dict[str, float]:
    return {name: float(np.asarray(value)) for name, value in logged.items() if name.startswith("train/")}
