"""Off-policy runs that are stopped, killed, damaged and gone on with: replay, targets, exploration, all to the bit."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback

from lit_rl.algorithms import algorithms
from lit_rl.cli.dispatch import run_command
from lit_rl.data import replay as module
from lit_rl.interop.settings import sb3_class
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import ROOT, checkpoints, final_state, kill_at_random, lit_rl, metrics, same_runs
from tests.helpers.strace import needs_strace, traced
from tests.runs.conftest import Cli

SMALL = {"net_arch": [8]}
COMMON = {"buffer_size": 10_000, "learning_starts": 40, "batch_size": 8, "cycles_per_iteration": 16,
          "policy_kwargs": SMALL}  # fmt: skip
NORMALIZED = {"normalize": {"obs": True, "reward": True}}


def config_of(algorithm: str, env: dict[str, Any], timesteps: int = 512, **settings: Any) -> dict[str, Any]:
    return {
        "name": "run",
        "seed_everything": 1,
        "total_timesteps": timesteps,
        "env": {"backend": "sync", "n_envs": 1, **env},
        "model": {"class_path": algorithm, "init_args": {**COMMON, **settings}},
        "checkpoint": {"every_timesteps": 128, "keep_last": 10},
    }


BOX, DISCRETE = ({"class_path": envs.PATH + name, "max_episode_steps": 23} for name in ("NoisyBox", "Noisy"))
REACH = {"class_path": envs.PATH + "Reach", "kwargs": {"dimensions": 2, "max_steps": 9}}
IMAGE = {"class_path": envs.PATH + "SmallImages", "max_episode_steps": 23}
CASES: dict[str, dict[str, Any]] = {
    "DQN": config_of("DQN", DISCRETE, target_update_interval=50),
    "DQN, several, wrapped round": config_of("DQN", {**DISCRETE, "n_envs": 3}, buffer_size=200, gradient_steps=3),
    "DQN, windows, double": config_of("DQN", {**DISCRETE, "n_envs": 2}, n_steps=3, double_q=True, buffer_size=300),
    "DQN, images": config_of("DQN", {**IMAGE, "n_envs": 2}, 384, policy="CnnPolicy", buffer_size=150,
                             learning_starts=100, train_freq=16, cycles_per_iteration=2),
    "DQN, by episodes": config_of("DQN", DISCRETE, train_freq=[1, "episode"], gradient_steps=-1,
                                  cycles_per_iteration=2),
    "SAC": config_of("SAC", BOX),
    "SAC, moments, wrapped round": config_of("SAC", {**BOX, **NORMALIZED, "n_envs": 2}, buffer_size=150,
                                             noise_type="ornstein-uhlenbeck"),
    "SAC, gSDE": config_of("SAC", {**BOX, "n_envs": 2}, use_sde=True, sde_sample_freq=3, train_freq=8,
                           gradient_steps=-1, cycles_per_iteration=4, use_sde_at_warmup=True),
    "SAC, Dict": config_of("SAC", {**BOX, "class_path": envs.PATH + "NoisyBoxDict"}, policy="MultiInputPolicy"),
    "DQN, prioritized": config_of("DQN", {**DISCRETE, "n_envs": 3}, prioritized_replay=True, buffer_size=200,
                                  n_steps=2),
    "SAC, prioritized": config_of("SAC", {**BOX, **NORMALIZED}, prioritized_replay={"alpha": 0.7, "beta": 1.0}),
    "SAC, hindsight": config_of("SAC", {**REACH, "n_envs": 2}, policy="MultiInputPolicy", her=True, buffer_size=150),
    "DDPG, hindsight, moments": config_of("DDPG", {**REACH, **NORMALIZED}, policy="MultiInputPolicy",
                                          her={"goal_selection_strategy": "episode"}, noise_type="normal"),
    "TD3": config_of("TD3", {**BOX, "n_envs": 2}, noise_type="normal", n_steps=2, buffer_size=200),
    "DDPG": config_of("DDPG", {**BOX, **NORMALIZED}, noise_type="ornstein-uhlenbeck", learning_rate="lin_1e-3"),
}  # fmt: skip


class FailsAt(Callback):
    """Raises once, at the end of the first iteration that comes so far."""

    def __init__(self, marker: str, at: int) -> None:
        self.marker, self.at = Path(marker), at

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        if module.counters.timesteps >= self.at and not self.marker.exists():
            self.marker.touch()
            raise RuntimeError("once")


def write(cli: Cli, config: dict[str, Any], **over: Any) -> Path:
    path = cli.cwd / "run.yaml"
    path.write_text(yaml.safe_dump({**config, **over}))
    return path


def same(one: Path, other: Path) -> None:
    assert any(name.startswith("replay") for name in final_state(one))
    same_runs(one, other)


QUICK = ("DQN, prioritized", "SAC, moments, wrapped round", "SAC, hindsight", "TD3")


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CASES])
def test_three_stops_change_nothing(cli: Cli, case: str) -> None:
    """In mid-episode, before learning starts and after, in each setting that has a branch."""
    config = write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 30, expect=75)
    for pause in (150, 300):
        cli("fit", "--config", config, "--mode", "resume", "--pause_at", pause, expect=75)
    cli("fit", "--config", config, "--mode", "resume")
    same(cli.run(), cli.run("straight"))
    assert float(metrics(cli.run())[-1]["train/n_updates"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("case", ["DQN, several, wrapped round", "SAC", "TD3"])
def test_nothing_depends_on_the_length_of_an_iteration(cli: Cli, case: str) -> None:
    config = write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--model.cycles_per_iteration", 5)
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    for name in ours.keys() - {"callbacks", "best"}:  # both are of iterations
        assert first_difference(ours[name], theirs[name], name) is None


@pytest.mark.slow
@pytest.mark.parametrize("case", ["DQN, several, wrapped round", "SAC, moments, wrapped round", "SAC, hindsight"])
def test_kills_at_random_change_nothing(cli: Cli, case: str) -> None:
    config = write(cli, CASES[case], total_timesteps=4000, checkpoint={"every_timesteps": 64, "keep_last": 3})
    cli("fit", "--config", config, "--name", "straight")
    words = ("fit", "--config", config, "--requeue", "true")
    kill_at_random(*words, cwd=cli.cwd, run=cli.run(), seed=case, most=20)
    cli(*words)
    same(cli.run(), cli.run("straight"))


@pytest.mark.parametrize("case", ["DQN, several, wrapped round", "SAC, moments, wrapped round"])
def test_an_error_within_an_iteration_saves_the_state_before_it(cli: Cli, case: str) -> None:
    """Also of a ring that has lost rows since."""
    marker = cli.cwd / "failed"
    fails = {"class_path": "tests.runs.test_off_policy.FailsAt", "init_args": {"marker": str(marker), "at": 250}}
    config = write(cli, CASES[case], trainer={"callbacks": [fails]}, checkpoint={"every_timesteps": None})
    marker.touch()
    cli("fit", "--config", config, "--name", "straight")
    marker.unlink()
    done = lit_rl("fit", "--config", config, cwd=cli.cwd, expect=1)
    assert "The state before this iteration" in done.stderr
    cli("fit", "--config", config, "--mode", "resume")
    same(cli.run(), cli.run("straight"))


def test_a_checkpoint_shares_what_is_complete(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hard links, so that each directory holds all it needs; where there are none, by copies."""
    monkeypatch.setattr("lit_rl.data.replay.SMALLEST_FILE", 1000)
    config = write(cli, CASES["DQN, several, wrapped round"])
    cli("fit", "--config", config, "--name", "linked")
    monkeypatch.setattr(os, "link", _no_links)
    done = cli("fit", "--config", config, "--name", "copied")
    assert done.out.count("WARNING: no hard links in lightning_logs") == 1
    linked, copied = (rows(cli.run(name)) for name in ("linked", "copied"))
    assert [path.name for path in linked] == [path.name for path in copied]
    shared = [path for path in linked if path.stat().st_nlink > 1]
    assert len(shared) >= 4
    assert not [path for path in linked if "tail" in path.name and path.stat().st_nlink > 1]
    assert all(path.stat().st_nlink == 1 for path in copied)
    same(cli.run("linked"), cli.run("copied"))
    for run in ("linked", "copied"):
        cli("verify-checkpoint", cli.run(run))


def _no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def rows(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("t*/*.rows"))


@pytest.mark.parametrize("how", ["bit", pytest.param("cut", marks=pytest.mark.slow), "gone"])
def test_a_damaged_file_of_rows_is_never_read(cli: Cli, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_rl.data.replay.SMALLEST_FILE", 1000)
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 384, expect=75)
    newest = checkpoints(cli.run())[-1].path
    file = sorted(newest.glob("*tail.rows"))[0]  # the others are the older ones' too
    data = bytearray(file.read_bytes())
    file.unlink()
    if how == "bit":
        data[len(data) // 2] ^= 1
    if how != "gone":
        file.write_bytes(data[:-1] if how == "cut" else data)
    done = cli("fit", "--config", config, "--mode", "resume")
    assert str(file.name) in done.out + done.err
    assert "timestep: 256 of 512" in done.out
    same(cli.run(), cli.run("straight"))


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["openat", "write", "fsync", "link"])
def test_a_kill_while_rows_are_written(cli: Cli, call: str) -> None:
    config = write(cli, CASES["DQN"], total_timesteps=1024)
    words = ["fit", "--config", str(config), "--trainer.default_root_dir", str(cli.cwd / "lightning_logs")]
    cli(*words, "--name", "straight")
    store, struck = cli.run() / "checkpoints", 0

    def fit() -> None:
        os.chdir(cli.cwd)
        module.SMALLEST_FILE = 3000
        raise SystemExit(run_command([*words, "--requeue", "true"]))

    for timesteps in range(128, 1025, 128):
        segment = struck + 1
        staging = store / f".staging-t{timesteps:010d}-s{segment:03d}"
        names = [f"replay_00000_{first:012d}_{first + 64:012d}.rows" for first in range(0, 1024, 64)]
        paths = [staging / name for name in (*names, "replay_00000_tail.rows")]
        fault = f"?{call},?{call}at:signal=KILL:when=1" if call == "link" else f"{call}:signal=KILL:when=1"
        outcome = traced(fit, cli.cwd / f"traced-{timesteps}", fault, paths=paths)
        if outcome.code == 0:
            break
        assert outcome.code == -signal.SIGKILL, outcome.error
        struck += (cli.run() / "lineage.json").exists() and bool(checkpoints(cli.run()))
    cli(*words, "--requeue", "true")
    same(newest_run(cli), cli.run("straight"))


def newest_run(cli: Cli) -> Path:
    versions = (cli.cwd / "lightning_logs" / "run").glob("version_*")
    return max(versions, key=lambda path: int(path.name.removeprefix("version_")))


def test_a_copy_by_any_tool_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_rl.data.replay.SMALLEST_FILE", 1000)
    config = write(cli, CASES["TD3"])
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    copy = cli.cwd / "copy"
    for path in (path for path in cli.run().rglob("*") if path.is_file() and "best" not in path.parts):
        if not path.is_symlink() and "last" not in path.parts:
            target = copy / path.relative_to(cli.run())
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    cli("fit", "--config", config, "--ckpt_path", copy)
    same(copy, cli.run("straight"))


def test_a_new_capacity_is_a_changed_setting(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    words = ("fit", "--config", config, "--mode", "resume", "--model.buffer_size", 100)
    assert "buffer_size" in cli.error(*words)
    done = cli(*words, "--resume.on_config_change", "accept")
    assert "replay: 100 of 100 transitions" in done.out


def test_another_number_of_environments_is_refused(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    words = ("--mode", "resume", "--env.n_envs", 2, "--resume.on_config_change", "accept")
    assert "env.n_envs" in cli.error("fit", "--config", config, *words)


def test_weights_of_a_trained_one_begin_another(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "trained")
    done = cli("fit", "--config", config, "--mode", "warmstart", "--warmstart.checkpoint", cli.run("trained"))
    assert "replay: 0 of 10,000 transitions" in done.out
    assert "temperature" in done.out


def test_it_plays_and_is_evaluated(cli: Cli) -> None:
    for case in ("DQN", "SAC, gSDE", "TD3"):
        config = write(cli, CASES[case], eval={"every": 200, "episodes": 2}, name=case.split(",")[0])
        cli("fit", "--config", config)
        assert "return: mean" in cli("test", "--config", config, "--episodes", 2).out


def test_dropping_what_earlier_levels_gave(cli: Cli) -> None:
    curriculum = {"levels": [
        {"name": "short", "promote": {"metric": "timesteps", "threshold": 200}},
        {"name": "long"},
    ]}  # fmt: skip
    kept = {}
    for choice in ("keep", "drop"):
        over = config_of("DQN", DISCRETE, on_promotion=choice)
        config = write(cli, over, curriculum=curriculum)
        cli("fit", "--config", config, "--name", f"straight_{choice}")
        cli("fit", "--config", config, "--name", choice, "--pause_at", 256, expect=75)
        cli("fit", "--config", config, "--name", choice, "--mode", "resume")
        same(cli.run(choice), cli.run(f"straight_{choice}"))
        kept[choice] = len(final_state(cli.run(choice))["replay"]["columns"]["reward"])
    assert kept["keep"] == 512
    assert 250 < kept["drop"] < 320


@pytest.mark.parametrize("case", ["DQN", "SAC", "SAC, gSDE", "TD3", "DDPG"])
def test_stable_baselines3_opens_what_is_exported(cli: Cli, case: str) -> None:
    assert_opened_there(cli, CASES[case])


def assert_opened_there(cli: Cli, config: dict[str, Any]) -> None:
    """Predicts the same, has optimizers and entropy coefficient, and learns on."""
    path = write(cli, {**config, "total_timesteps": 128})
    cli("fit", "--config", path)
    cli("export-sb3", cli.run(), "--out", cli.cwd / "agent.zip")
    name = config["model"]["class_path"]
    ours = algorithms()[name].load_from_checkpoint(cli.run())
    env = make_env(config["env"]["class_path"])
    theirs = sb3_class(algorithms()[name]).load(cli.cwd / "agent.zip", env=env, device="cpu")
    obs = np.stack([env.observation_space.sample() for _ in range(5)])
    seen = ours.normalizer.normalize_obs(obs)
    np.testing.assert_allclose(theirs.predict(seen, deterministic=True)[0], ours.policy_actions(seen), atol=1e-6)
    assert theirs.num_timesteps == 128
    if getattr(ours, "log_ent_coef", None) is not None:
        assert torch.equal(theirs.log_ent_coef, ours.log_ent_coef)
    policy = theirs.policy
    optimizer = policy.optimizer if name.endswith("DQN") else policy.critic.optimizer
    assert optimizer.state_dict()["state"]
    if getattr(ours, "noise_type", None) is not None:
        noise, kinds = theirs.action_noise, {"normal": "NormalActionNoise"}
        assert type(noise).__name__ == kinds.get(ours.noise_type, "OrnsteinUhlenbeckActionNoise")
        assert (noise._sigma == ours.noise_std).all()
        theirs.action_noise = None  # clipped to its bounds by SB3, an action is a rounding error outside of them
    theirs.learn(60)


def make_env(path: str) -> Any:
    return getattr(envs, path.removeprefix(envs.PATH))()


AGENTS = ROOT.parent / "shared" / "sb3_agents"


@pytest.mark.skipif(not AGENTS.is_dir(), reason="needs the published agents")
@pytest.mark.parametrize(("agent", "least"), [("dqn", 490.0), ("sac", -300.0)])
def test_a_published_agent_is_as_good_here(cli: Cli, agent: str, least: float) -> None:
    (path,) = AGENTS.glob(f"{agent}/*/*.zip")
    cli("import-sb3", path, "--out", "imported.yaml")
    out = cli("test", "--config", "imported.yaml", "--ckpt_path", path, "--episodes", 10).out
    assert float(out.split("return: mean ")[1].split(",")[0]) > least
    begun = cli("fit", "--config", "imported.yaml", "--total_timesteps", 200, "--model.learning_starts", 100).out
    assert "policy: " in begun
