"""Networks that keep something in PyTorch's extra state resume with it."""

from __future__ import annotations

import torch
from gymnasium import spaces
from torch import Tensor

from lit_rl.state.plain import first_difference
from lit_rl.state.snapshot import Snapshot
from tests.helpers.cli import final_state
from tests.helpers.extractors import Counting
from tests.runs.conftest import Cli


class Counts(Counting):
    """Counts its passes in training, and what it gives depends on the count."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(x) * (1 + 0.001 * self.calls)


def test_it_comes_back(cli: Cli) -> None:
    kwargs = {"features_extractor_class": f"{__name__}.Counts", "net_arch": [8]}
    config = cli.config({"model": {"init_args": {"policy_kwargs": kwargs}}})
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", 256, expect=75)
    cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    ours, theirs = final_state(cli.run("straight")), final_state(cli.run("stopped"))
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None
    assert ours["policy"]["policy.features_extractor._extra_state"]["calls"] == 16
    cli("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", cli.run("straight"))


def test_a_rescue_puts_it_back() -> None:
    network = Counts(spaces.Box(-1.0, 1.0, (3,)))
    network(torch.zeros(1, 3))
    snapshot = Snapshot(network, [], {})
    snapshot.take({})
    network(torch.zeros(1, 3))
    snapshot.put_back()
    assert network.calls == 1
