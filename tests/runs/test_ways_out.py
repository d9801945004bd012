"""Messages name the way out, and shortcuts people try work."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import lit_rl
from lit_rl.errors import ConfigError
from tests.helpers.cli import metrics
from tests.runs.conftest import Cli


class Succeeds(gym.Env[Any, Any]):
    """Says `success`, as gymnasium-robotics' do not and many others do, in every second episode."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.low * 0, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = self.steps == 8
        return self.observation_space.low * 0, 0.0, over, False, {"success": over}


def test_success_counts_as_is_success_does(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"env": {"id": None, "class_path": f"{__name__}.Succeeds"}}))
    assert {row["rollout/success_rate"] for row in metrics(cli.run())} == {"1.0"}


def test_a_new_run_says_that_the_last_one_of_its_name_could_go_on(cli: Cli) -> None:
    config = cli.config()
    unfinished = "version_0 is not finished: --mode resume or --requeue true would go on with it"
    assert "not finished" not in cli("fit", "--config", config, "--pause_at", 128, expect=75).out
    assert unfinished in cli("fit", "--config", config).out
    assert "not finished" not in cli("fit", "--config", config).out, "the newest one has finished"


def test_other_blocks_are_ignored_and_said_so_of_options(cli: Cli) -> None:
    config = cli.config({"warmstart": {"checkpoint": "nowhere"}, "resume": {"schedule": "hold"}})
    assert "ignored" not in cli("fit", "--config", config).out
    said = cli("fit", "--config", config, "--warmstart.checkpoint", "elsewhere").out
    assert said.startswith("mode is fresh: --warmstart.checkpoint is not used")


def test_the_config_of_a_run_directory_resumes_that_run(cli: Cli) -> None:
    for _ in range(2):
        cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    done = cli("fit", "--config", cli.run(version=0) / "config.yaml", "--mode", "resume", "--pause_at", 256, expect=75)
    assert f"run: {cli.run(version=0)}" in done.out
    words = ("fit", "--config", cli.run(version=0) / "config.yaml", "--mode", "resume")
    assert "version_1" in cli(*words, "--resume.checkpoint", "last").out, "what is asked for in so many words holds"
    assert "finished: timestep 512" in cli(*words).out, "where it was paused before is nothing to it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env.id", "Xyzzy-v0"), "One that a module of yours registers is module:Id; a class is env.class_path."),
        (("--model", "PPOO"), "RecurrentPPO, SAC, TD3, TQC, TRPO. Did you mean 'PPO'?"),
    ],
)
def test_mistakes(cli: Cli, words: tuple[str, ...], said: str) -> None:
    assert said in cli.error("fit", "--config", cli.config(), *words)


@pytest.mark.parametrize(
    "words",
    [("--model.policy_kwargs", "{net_arch: [16]}"), ("--env.id", "Acrobot-v1"), ("--model", "DQN")],
)
def test_a_warm_start_that_does_not_fit_names_the_way_out(cli: Cli, words: tuple[str, ...]) -> None:
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    warm = cli.config({"mode": "warmstart", "warmstart": {"checkpoint": str(cli.run())}}, "warm.yaml")
    if words[-1] == "DQN":
        warm = cli.config(
            {"model": {"init_args": None}, "mode": "warmstart", "warmstart": {"checkpoint": str(cli.run())}}
        )
    message = cli.error("fit", "--config", warm, *words)
    assert message.endswith("warmstart.on_mismatch: skip takes over what fits.")


def test_a_name_means_its_newest_run_wherever_an_agent_is_wanted(cli: Cli) -> None:
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    cli("test", "run", "--episodes", 1)
    cli("export", "run", "--format", "torchscript", "--out", "run.pt")
    cli("export", "run", "--format", "sb3", "--out", "run.zip")
    assert "'rum' is not there" in cli.error("test", "rum")


def test_what_there_is_is_listed() -> None:
    assert set(dir(lit_rl)) == set(lit_rl.__all__)
    assert {"PPO", "SAC", "load", "begin"} <= set(dir(lit_rl))
    for name in dir(lit_rl):
        getattr(lit_rl, name)


def test_an_environment_may_be_an_id_alone() -> None:
    module = lit_rl.PPO(env="CartPole-v1")  # type: ignore[arg-type]  # the parser wants one type
    assert module.env_config == lit_rl.EnvConfig(id="CartPole-v1")
    assert module.settings() == lit_rl.PPO(env=lit_rl.EnvConfig(id="CartPole-v1")).settings()
    with pytest.raises(ConfigError, match="env"):
        lit_rl.PPO(env=gym.make("CartPole-v1"))  # type: ignore[arg-type]
