"""MaskablePPO, RecurrentPPO and both together: stopped, killed, crashed and gone on with, all to the bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gymnasium.wrappers import TimeLimit

import lit_rl as lit_rl_package
from lit_rl.errors import ConfigError
from lit_rl.state.plain import first_difference
from tests.helpers import envs, masked
from tests.helpers.cli import checkpoints, final_state, kill_at_random, lit_rl, metrics, parts, same_runs
from tests.helpers.masked import Masked
from tests.runs.conftest import Cli

pytest.importorskip("sb3_contrib")

LSTM = {"net_arch": [8], "lstm_hidden_size": 8}
NORMALIZED = {"normalize": {"obs": True, "reward": True}}


def config_of(algorithm: str, env: dict[str, Any], **settings: Any) -> dict[str, Any]:
    kwargs = LSTM if algorithm == "RecurrentPPO" else {"net_arch": [8]}
    common = {"n_steps": 16, "batch_size": 12, "n_epochs": 2, "policy_kwargs": kwargs}
    return {
        "name": "run",
        "seed_everything": 1,
        "total_timesteps": 480,
        "env": {"backend": "sync", "n_envs": 3, "max_episode_steps": 11, **env},
        "model": {"class_path": algorithm, "init_args": {**common, **settings}},
        "checkpoint": {"every_timesteps": 96, "keep_last": 10},
    }


CASES: dict[str, dict[str, Any]] = {
    "masks": config_of("MaskablePPO", {"class_path": masked.PATH + "Masked", **NORMALIZED}),
    "masks of several parts": config_of("MaskablePPO", {"class_path": masked.PATH + "MaskedMultiDiscrete"}),
    "masks of images": config_of("MaskablePPO", {"class_path": masked.PATH + "MaskedImages"}, policy="CnnPolicy"),
    "masks in workers": config_of("MaskablePPO", {"class_path": masked.PATH + "Masked", "backend": "async"}),
    "memory": config_of("RecurrentPPO", {"class_path": envs.PATH + "NoisyBox", **NORMALIZED}),
    "memory, gSDE": config_of("RecurrentPPO", {"class_path": envs.PATH + "NoisyBox"}, use_sde=True, sde_sample_freq=5),
    "memory, two layers, no LSTM for the critic": config_of(
        "RecurrentPPO", {"class_path": envs.PATH + "NoisyDict"}, policy="MultiInputLstmPolicy",
        policy_kwargs={**LSTM, "n_lstm_layers": 2, "enable_critic_lstm": False},
    ),
    "memory of images": config_of(
        "RecurrentPPO", {"class_path": envs.PATH + "SmallImages"}, policy="CnnLstmPolicy", n_epochs=1,
        policy_kwargs={"lstm_hidden_size": 8},
    ),
    "both": config_of("RecurrentPPO", {"class_path": masked.PATH + "MaskedMultiDiscrete", "action_masks": True}),
}  # fmt: skip
MASKER = "sb3_contrib.common.wrappers.ActionMasker"
QUICK = ("masks", "memory", "both")


def write(cli: Cli, case: str, **over: Any) -> Path:
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({**CASES[case], **over}))
    return path


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_stops_change_nothing(cli: Cli, case: str) -> None:
    """Between rollouts, which is in mid-episode: what is remembered, and what is allowed, goes on."""
    config = write(cli, case)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 40, expect=75)
    cli("fit", "--config", config, "--mode", "resume", "--pause_at", 200, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same_runs(cli.run(), cli.run("straight"))
    if CASES[case]["model"]["class_path"] == "RecurrentPPO":
        (memory,) = (each for name, each in final_state(cli.run()).items() if name.startswith("memory"))
        assert float(memory["by_environment"]["values"].abs().max()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["both"])
def test_kills_at_random_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, case, total_timesteps=9600, checkpoint={"every_timesteps": 48, "keep_last": 3})
    cli("fit", "--config", config, "--name", "straight")
    words = ("fit", "--config", config, "--requeue", "true")
    kill_at_random(*words, cwd=cli.cwd, run=cli.run(), seed=case, most=10)
    cli(*words)
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["both"])
def test_two_ranks_are_exact(cli: Cli, case: str) -> None:
    config = write(cli, case, env={**CASES[case]["env"], "n_envs": 4})
    two = ("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")
    lit_rl("fit", "--config", config, *two, "--name", "straight", cwd=cli.cwd)
    lit_rl("fit", "--config", config, *two, "--pause_at", 200, cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, *two, "--mode", "resume", cwd=cli.cwd)
    same_runs(cli.run(), cli.run("straight"))


@pytest.mark.parametrize("n_envs", [2, 5])
def test_another_number_of_environments(cli: Cli, n_envs: int) -> None:
    """Those that are still there remember; new ones begin with nothing."""
    words = ("fit", "--config", write(cli, "memory"), "--resume.on_config_change", "accept")
    cli(*words, "--pause_at", 200, expect=75)
    before = parts(checkpoints(cli.run())[-1])["memory"]["by_environment"]
    assert before["going_on"].any()
    cli(*words, "--mode", "resume", "--env.n_envs", n_envs)
    assert len(final_state(cli.run())["memory"]["by_environment"]["values"]) == n_envs


@pytest.mark.slow
def test_other_ranks_remember_the_same(cli: Cli) -> None:
    """One rank's memory is dealt out to two, and those of two are put together."""
    config = write(cli, "memory", env={**CASES["memory"]["env"], "n_envs": 4})
    two = ("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")
    words = ("fit", "--config", config, "--resume.on_config_change", "accept")
    cli(*words, "--pause_at", 100, expect=75)
    lit_rl(*words, *two, "--mode", "resume", "--pause_at", 200, cwd=cli.cwd, expect=75)
    cli(*words, "--mode", "resume")
    assert len(final_state(cli.run())["memory"]["by_environment"]["values"]) == 4


@pytest.mark.parametrize("case", ["masks", "both"])
def test_workers_give_the_same_bits(cli: Cli, case: str) -> None:
    config = write(cli, case, total_timesteps=144)
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--env.backend", "async", "--env.n_workers", 2)
    same_runs(cli.run(), cli.run("straight"))


def test_a_mask_from_a_wrapper(cli: Cli) -> None:
    config = write(cli, "masks", total_timesteps=96)
    cli("fit", "--config", config, "--name", "straight")
    wrapped = {
        **CASES["masks"]["env"],
        "class_path": envs.PATH + "Noisy",
        "wrappers": [f"{__name__}.Says"],
    }
    cli("fit", "--config", write(cli, "masks", total_timesteps=96, env=wrapped))
    same_runs(cli.run(), cli.run("straight"))


def test_contribs_wrapper_with_the_name_of_a_method(cli: Cli) -> None:
    cli("fit", "--config", write(cli, "masks", total_timesteps=96), "--name", "straight")
    masker = {"class_path": MASKER, "init_args": {"action_mask_fn": "legal_moves"}}
    wrapped = {**CASES["masks"]["env"], "class_path": masked.PATH + "Legal", "wrappers": [masker]}
    cli("fit", "--config", write(cli, "masks", total_timesteps=96, env=wrapped))
    same_runs(cli.run(), cli.run("straight"))


def Says(env: Any) -> Any:
    from sb3_contrib.common.wrappers import ActionMasker

    return ActionMasker(env, lambda inner: Masked.action_masks(inner.unwrapped))


# -- environments that fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_mask_that_allows_nothing_is_named_with_its_step(cli: Cli, backend: str) -> None:
    env = {**CASES["masks"]["env"], "class_path": masked.PATH + "NothingAllowed", "backend": backend}
    said = cli.error("fit", "--config", write(cli, "masks", env=env))
    assert said.startswith("environment 0 (tests.helpers.masked.NothingAllowed) sent a mask that allows no action")
    assert "in episode 0, step 5." in said


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"class_path": masked.PATH + "RaggedMask"}, "a mask from action_masks() that is no array"),
        ({"class_path": masked.PATH + "MaskIsNoMethod"}, "MaskIsNoMethod has no method action_masks()"),
        (
            {
                "class_path": masked.PATH + "Legal",
                "wrappers": [{"class_path": MASKER, "init_args": {"action_mask_fn": "legal"}}],
            },
            "env.wrappers: ActionMasker's action_mask_fn: the environment has no legal()",
        ),
        ({"class_path": masked.PATH + "WrongMask"}, "a mask of 4 flags from action_masks(), and its actions have 3"),
        (
            {"class_path": envs.PATH + "Noisy"},
            "env.action_masks: tests.helpers.envs.Noisy has no method action_masks()",
        ),
        ({"class_path": envs.PATH + "NoisyBox"}, "env.action_masks: is for Discrete, MultiDiscrete and MultiBinary"),
    ],
)
def test_masks_that_are_none(cli: Cli, over: dict[str, Any], text: str) -> None:
    assert text in cli.error("fit", "--config", write(cli, "masks", env={**CASES["masks"]["env"], **over}))


def test_algorithms_without_masks_say_so(cli: Cli) -> None:
    words = ("fit", "--config", write(cli, "masks"), "--env.action_masks", "true")
    said = cli.error(*words, "--model", "DQN", "--model.policy_kwargs", "{}")
    assert "env.action_masks: DQN does not know which actions are allowed; use MaskablePPO" in said
    binary = {**CASES["masks"]["env"], "class_path": masked.PATH + "MaskedMultiBinary", "action_masks": True}
    said = cli.error("fit", "--config", write(cli, "masks", env=binary), "--model", "PPO")
    assert "env.action_masks: for MultiBinary actions a policy needs logits for 0 and for 1" in said


@pytest.mark.slow
def test_an_episode_that_is_lost_is_forgotten(cli: Cli) -> None:
    """An environment that raises is made anew: its next episode begins with nothing remembered."""
    failing = {"class_path": envs.PATH + "NoisyFails", "kwargs": {"at": 7}, "on_env_crash": "restart"}
    config = write(cli, "memory", env={**CASES["memory"]["env"], **failing, "max_restarts": 1000})
    cli("fit", "--config", config, "--name", "straight")
    assert float(metrics(cli.run("straight"))[-1]["env/restarts"]) > 3
    cli("fit", "--config", config, "--pause_at", 200, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same_runs(cli.run(), cli.run("straight"))


# -- beside training -----------------------------------------------------------------------------------------------


def test_a_policy_that_remembers_predicts_as_contribs(cli: Cli) -> None:
    """State and episode starts go in and come out as in sb3-contrib; evaluation and `test` remember too."""
    import sb3_contrib

    cli("fit", "--config", write(cli, "memory", eval={"every": 240, "episodes": 3}))
    assert metrics(cli.run())[-1]["eval/mean_reward"]
    cli("test", cli.run(), "--episodes", 2)
    cli("export-sb3", cli.run(), "--out", cli.cwd / "agent.zip")
    ours, theirs = (
        lit_rl_package.load(cli.run(), which="last"),
        sb3_contrib.RecurrentPPO.load(cli.cwd / "agent.zip", device="cpu"),
    )
    again = lit_rl_package.load(cli.cwd / "agent.zip", vecnormalize=cli.cwd / "agent_vecnormalize.pkl")
    rng, state, other, third = np.random.default_rng(0), None, None, None
    for step in range(12):
        obs, start = rng.normal(size=(2, 2)).astype(np.float32), np.array([step % 5 == 0, step == 7])
        seen = ours.module.normalizer.normalize_obs(obs)
        actions, state = ours.predict(obs, state, start, deterministic=True)
        expected, other = theirs.predict(seen, other, start, deterministic=True)
        np.testing.assert_allclose(actions, expected, atol=1e-5)
        np.testing.assert_allclose(again.predict(obs, third, start, deterministic=True)[0], expected, atol=1e-5)
        third = again.predict(obs, third, start, deterministic=True)[1]
        for one, two in zip(state, other, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_masked_policy_predicts_what_is_allowed(cli: Cli) -> None:
    import sb3_contrib

    cli("fit", "--config", write(cli, "masks", eval={"every": 240, "episodes": 3}))
    cli("test", cli.run(), "--episodes", 2)
    cli("export-sb3", cli.run(), "--out", cli.cwd / "agent.zip")
    ours, theirs = (
        lit_rl_package.load(cli.run(), which="last"),
        sb3_contrib.MaskablePPO.load(cli.cwd / "agent.zip", device="cpu"),
    )
    obs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    seen = ours.module.normalizer.normalize_obs(obs)
    for forbidden in range(3):
        masks = np.ones((20, 3), dtype=bool)
        masks[:, forbidden] = False
        actions, _ = ours.predict(obs, deterministic=True, action_masks=masks)
        np.testing.assert_array_equal(actions, theirs.predict(seen, deterministic=True, action_masks=masks)[0])
        assert not (ours.predict(obs, action_masks=masks)[0] == forbidden).any()
    assert ours.predict(obs[0], action_masks=[False, True, False])[0] == 1


@pytest.mark.parametrize("case", ["masks", "masks of several parts"])
def test_an_exported_policy_takes_masks(cli: Cli, case: str) -> None:
    cli("fit", "--config", write(cli, case, total_timesteps=96))
    done = cli("export", cli.run(), "--format", "torchscript", "--out", cli.cwd / "policy.pt")
    assert "its actions are ours for 256 observations that it meets" in done.out
    exported, agent = torch.jit.load(cli.cwd / "policy.pt"), lit_rl_package.load(cli.run())
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(50, 2)).astype(np.float32)
    size = 3 if case == "masks" else 7
    masks = (np.arange(size) + rng.integers(3, size=(50, 1))) % 3 != 0
    taken = exported(torch.from_numpy(obs), torch.from_numpy(masks)).numpy()
    np.testing.assert_array_equal(taken, agent.predict(obs, deterministic=True, action_masks=masks)[0])
    assert (taken != exported(torch.from_numpy(obs), torch.ones(50, size, dtype=torch.bool)).numpy()).any()


def test_an_observation_may_have_the_masks_name(cli: Cli) -> None:
    env = {"class_path": masked.PATH + "MaskIsAKey"}
    config = config_of("MaskablePPO", env, policy="MultiInputPolicy")
    (cli.cwd / "run.yaml").write_text(yaml.safe_dump({**config, "total_timesteps": 96}))
    cli("fit", "--config", cli.cwd / "run.yaml")
    done = cli("export", cli.run(), "--format", "torchscript", "--out", cli.cwd / "policy.pt")
    assert "its actions are ours for 256 observations that it meets" in done.out


def test_what_predict_is_given(cli: Cli) -> None:
    """Masks and states that fit no observation are one line, and so are masks that nobody looks at."""
    cli("fit", "--config", write(cli, "masks", total_timesteps=48))
    agent, three = lit_rl_package.load(cli.run()), np.zeros((3, 2), np.float32)
    for masks, text in (
        ([True], r"has the shape \(1,\); 3 of 3 flags are needed: \(3, 3\)"),
        ([[True] * 3] * 2, r"has the shape \(2, 3\); 3 of 3 flags"),
        ([True] * 3, r"has the shape \(3,\)"),
        ([[0.3] * 3] * 3, "are true and false"),
        ([["a"] * 3] * 3, "are true and false"),
        ([[True] * 3, [False] * 3, [True] * 3], "allow nothing"),
        ([[True], [True, False]], "has the shape"),
    ):
        with pytest.raises(ConfigError, match=f"predict: action_masks {text}"):
            agent.predict(three, action_masks=masks)
    assert agent.predict(three[0], action_masks=[0, 1, 0])[0] == 1
    cli("fit", "--config", write(cli, "memory", total_timesteps=48), "--name", "memory")
    agent = lit_rl_package.load(cli.run("memory"))
    with pytest.raises(ConfigError, match="this policy of RecurrentPPO was trained without"):
        agent.predict(three, action_masks=[[True] * 3] * 3)
    _, state = agent.predict(three)
    for wrong in ((state[0],), {}, (state[0][:, :1], state[1]), (state[0], state[1][..., :2]), 3):
        with pytest.raises(ConfigError, match=r"predict: state is what .* two arrays \(1, 3, 8\) for 3 observations"):
            agent.predict(three, state=wrong)
    with pytest.raises(ConfigError, match="predict: episode_start has 2 flags, and there are 3 observations"):
        agent.predict(three, state=state, episode_start=[True, False])


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"shared_lstm": True}, "model.policy_kwargs.shared_lstm: true needs enable_critic_lstm: false"),
        ({"lstm_hidden_size": 0}, "model.policy_kwargs.lstm_hidden_size is 0; it must be at least 1"),
        ({"n_lstm_layers": 0}, "model.policy_kwargs.n_lstm_layers is 0; it must be at least 1"),
    ],
)
def test_lstms_that_cannot_be(cli: Cli, kwargs: dict[str, Any], text: str) -> None:
    config = config_of("RecurrentPPO", {"class_path": envs.PATH + "NoisyBox"}, policy_kwargs=kwargs)
    (cli.cwd / "run.yaml").write_text(yaml.safe_dump(config))
    assert text in cli.error("fit", "--config", cli.cwd / "run.yaml")


def test_what_remembers_is_not_exported_as_one_network(cli: Cli) -> None:
    cli("fit", "--config", write(cli, "memory", total_timesteps=96))
    said = cli.error("export", cli.run(), "--format", "torchscript", "--out", cli.cwd / "policy.pt")
    assert "export: RecurrentPPO remembers its episode" in said
    said = cli.error("fit", "--config", write(cli, "memory"), "--model.fast", "compile")
    assert said.startswith("model.fast: sequences have any length")


@pytest.mark.parametrize("name", ["RecurrentPPO", "MaskablePPO"])
def test_contribs_own_runs_go_on(cli: Cli, name: str) -> None:
    """`import-sb3`, a new run from its weights, and the same run gone on with."""
    import sb3_contrib
    from stable_baselines3.common.env_util import make_vec_env

    cls = {"RecurrentPPO": envs.Noisy, "MaskablePPO": Masked}[name]
    kwargs = {"net_arch": [8]} | ({"lstm_hidden_size": 8, "shared_lstm": True, "enable_critic_lstm": False}
                                  if name == "RecurrentPPO" else {})  # fmt: skip
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    there = make_vec_env(cls, 2, env_kwargs=None, wrapper_class=TimeLimit, wrapper_kwargs={"max_episode_steps": 9})
    agent = getattr(sb3_contrib, name)(policy, there, n_steps=16, batch_size=8, n_epochs=1, device="cpu",
                                       policy_kwargs=kwargs)  # fmt: skip
    agent.learn(64).save(cli.cwd / "agent.zip")
    out, path = cli.cwd / "run.yaml", f"{cls.__module__}.{cls.__name__}"
    cli(
        "import-sb3",
        cli.cwd / "agent.zip",
        "--out",
        out,
        "--env",
        path.replace(".Noisy", ":Noisy").replace(".Masked", ":Masked"),
    )
    words = ("fit", "--config", out, "--env.max_episode_steps", 9, "--name", "run")
    cli(*words)
    go_on = ("--mode", "resume", "--resume.checkpoint", cli.cwd / "agent.zip", "--total_timesteps", 128)
    done = cli(*words, *go_on, "--name", "on")
    assert "timestep: 64 of 128" in done.out
    assert int(final_state(cli.run("on"))["counters"]["timesteps"]) == 128


def test_a_warm_start_remembers_nothing(cli: Cli) -> None:
    config = write(cli, "memory")
    cli("fit", "--config", config)
    (source,) = checkpoints(cli.run())[-1:]
    words = (
        "--mode",
        "warmstart",
        "--warmstart.checkpoint",
        source.path,
        "--warmstart.load",
        "[policy, value, obs_moments]",
    )
    cli("fit", "--config", config, *words, "--total_timesteps", 48, "--name", "warm")
    assert (cli.run("warm") / "lineage.json").is_file()
    ours, theirs = parts(source), final_state(cli.run("warm"))
    assert first_difference(ours["memory"], theirs["memory"], "") is not None


# -- without the package --------------------------------------------------------------------------------------------


def test_an_algorithm_whose_package_is_missing_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    hidden = "sb3_contrib"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == hidden else there(name, *of))
    line = "MaskablePPO needs the package sb3_contrib; install it with `pip install 'lit-rl[contrib]'`."
    assert f"model.class_path: {line}" in cli.error("fit", "--config", write(cli, "masks"))
    assert f"--algorithm: {line}" in cli.error("init", "CartPole-v1", "--algorithm", "MaskablePPO")
    (cli.cwd / "ppo_lstm.yml").write_text("CartPole-v1: {n_steps: 32}")
    said = cli.error("import-zoo", "ppo_lstm.yml", "--env", "CartPole-v1", "--out", "new.yaml")
    assert "RecurrentPPO needs the package sb3_contrib" in said
    with pytest.raises(ConfigError, match=r"lit_rl\.MaskablePPO: MaskablePPO needs the package sb3_contrib"):
        _ = lit_rl_package.MaskablePPO
    from lit_rl.algorithms import algorithms

    assert "PPO" in algorithms()
    assert "MaskablePPO" not in algorithms()
