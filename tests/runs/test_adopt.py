"""Runs of stable-baselines3 go on here: `mode: resume` with a zip, `adopt`, and the directories of callbacks."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3.common.vec_env import VecNormalize

from lit_rl import load
from lit_rl.checkpoint.reader import load_lightning
from lit_rl.interop.sb3 import read_agent
from lit_rl.state.plain import first_difference
from tests.helpers.cli import ROOT, checkpoints, final_state, lineage, metrics
from tests.helpers.sb3_runs import HALF, KINDS, ON_POLICY, WHOLE, Noted, Trained, drafted, env_of, train, venv_of
from tests.runs.conftest import Cli

PUBLISHED = ROOT.parent / "shared" / "sb3_agents"
QUICK = ("PPO", "SAC")
each = pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in KINDS])
_RUNS: dict[str, Trained] = {}


@pytest.fixture
def left(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs by kind, trained once; each test has its own copy of their files."""

    def of(kind: str) -> Trained:
        if kind not in _RUNS:
            _RUNS[kind] = train(kind, tmp_path_factory.mktemp("sb3") / kind)
        run = _RUNS[kind]
        folder = tmp_path / "logs" / kind
        shutil.copytree(run.folder, folder)
        return Trained(kind, folder, run.model, run.rates, run.others)

    return of


def optimizers_of(model: Any) -> list[Any]:
    policy = model.policy
    found = [policy.optimizer] if hasattr(policy, "optimizer") else [policy.actor.optimizer, policy.critic.optimizer]
    own = getattr(model, "ent_coef_optimizer", None)
    return found if own is None else [*found, own]


# -- what is carried -------------------------------------------------------------------------------------------------


@each
def test_the_whole_state_is_stable_baselines3s(cli: Cli, left: Any, kind: str) -> None:
    run = left(kind)
    theirs = KINDS[kind].load(run.zip, device="cpu")
    done = cli("adopt", run.zip, "--out", "lightning_logs/run", "--config", drafted(cli, run))
    assert "go on: lit-rl fit --config lightning_logs/run/version_0/config.yaml" in done.out
    ours, state = load_lightning(checkpoints(cli.run())[-1]), final_state(cli.run())
    weights = {n.removeprefix("policy."): t for n, t in ours["state_dict"].items() if n.startswith("policy.")}
    assert first_difference(dict(theirs.policy.state_dict()), weights) is None
    for mine, other in zip(ours["optimizer_states"], optimizers_of(theirs), strict=True):
        kept = other.state_dict()["state"]
        assert kept.keys() == mine["state"].keys()
        for i in kept:
            for name in kept[i]:
                assert torch.equal(torch.as_tensor(kept[i][name]), torch.as_tensor(mine["state"][i][name])), name
    if hasattr(theirs, "log_ent_coef"):
        assert torch.equal(ours["state_dict"]["log_ent_coef"], theirs.log_ent_coef.detach())
    counters = state["counters"]
    assert (counters["timesteps"], counters["updates"]) == (HALF, theirs._n_updates)
    assert state["clock"] == {"target": WHOLE, "horizon": WHOLE, "frozen": None}
    infos = [(info["r"], info["l"]) for info in theirs.ep_info_buffer]
    assert infos
    assert [(ret, length) for _, ret, length, _, _ in state["episodes"]["episodes"]] == infos
    if kind in ON_POLICY:
        venv = VecNormalize.load(str(run.folder / f"rl_model_vecnormalize_{HALF}_steps.pkl"), venv_of(kind))
        moments = state["reward_moments"]
        for value in ("mean", "var", "count"):
            np.testing.assert_array_equal(moments[f"normalizer.reward.{value}"], getattr(venv.ret_rms, value))
        mine = {value: state["obs_moments"][f"normalizer.obs.obs.{value}"].numpy() for value in ("mean", "count")}
        assert mine["count"] == venv.obs_rms.count + 2  # what the new episodes show first, as in SB3
        np.testing.assert_allclose(mine["mean"], venv.obs_rms.mean, atol=0.05)
    else:
        theirs.load_replay_buffer(str(run.folder / f"rl_model_replay_buffer_{HALF}_steps.pkl"))
        buffer, replay = theirs.replay_buffer, state["replay"]
        assert (replay["begin"], replay["end"]) == (1, HALF)  # SB3's callback saves before the newest is stored
        rows = replay["columns"]
        np.testing.assert_array_equal(rows["reward"], buffer.rewards[: HALF - 1])
        np.testing.assert_array_equal(rows["obs"], buffer.observations[: HALF - 1])
    parent = lineage(cli.run())["parents"][0]
    assert lineage(cli.run())["mode"] == "adopt"
    assert (parent["path"], parent["timesteps"], len(parent["sha256"])) == (str(run.zip), HALF, 64)


@each
def test_schedules_are_where_they_were(cli: Cli, left: Any, kind: str) -> None:
    """SB3 trains on to its target, and so does the same run here: the same learning rate at the same timestep."""
    run = left(kind)
    cli("fit", "--config", drafted(cli, run))
    seen = {int(row["step"]): row for row in metrics(cli.run()) if row.get("train/learning_rate")}
    assert max(seen) == WHOLE
    expected = {step: rate for step, rate in run.rates.items() if step > HALF}
    assert len(expected) > 3
    for step, rate in expected.items():
        assert float(seen[step]["train/learning_rate"]) == pytest.approx(rate, rel=1e-12), step
        if run.others:
            assert float(seen[step]["train/clip_range"]) == pytest.approx(run.others[step], rel=1e-12)
    if kind.endswith("DQN"):
        final = 0.05 if kind == "DQN" else 0.01
        left_over = {step: float(row["rollout/exploration_rate"]) for step, row in seen.items()}
        assert all(rate == pytest.approx(1 + (final - 1) * min(s / WHOLE / 0.8, 1)) for s, rate in left_over.items())


@each
def test_from_there_on_it_is_exact(cli: Cli, left: Any, kind: str) -> None:
    config = drafted(cli, left(kind))
    cli("fit", "--config", config, "--name", "straight")
    cli("fit", "--config", config, "--pause_at", HALF + 40, expect=75)
    done = cli("fit", "--config", config, "--pause_at", HALF + 100, expect=75)  # the same command: not once more
    assert "which began from" in done.out
    cli("fit", "--config", cli.run() / "config.yaml")
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    for name in ours.keys() | theirs.keys():
        assert first_difference(ours.get(name), theirs.get(name), name) is None
    assert metrics(cli.run()) == metrics(cli.run("straight"))
    ours, theirs = ((cli.run(name) / "monitor.csv").read_text().splitlines() for name in ("run", "straight"))
    assert [line.split(",")[:2] for line in ours[2:]] == [line.split(",")[:2] for line in theirs[2:]]
    assert not cli.run(version=1).exists()


def test_a_new_target_stretches_schedules_as_stable_baselines3_does(cli: Cli, left: Any) -> None:
    run = left("PPO")
    config = drafted(cli, run)
    cli("fit", "--config", config, "--resume.total_timesteps", 1024, "--resume.schedule", "stretch")
    theirs = KINDS["PPO"].load(run.zip, env=venv_of("PPO"), device="cpu")
    rates: dict[int, float] = {}
    theirs.learn(1024 - HALF, reset_num_timesteps=False, callback=Noted(rates, {}))
    ours = {int(row["step"]): float(row["train/learning_rate"]) for row in metrics(cli.run())}
    assert ours == pytest.approx(rates)
    kept = cli("fit", "--config", config, "--name", "kept", "--resume.additional_timesteps", 512)
    assert f"timestep: {HALF} of {HALF + 512}" in kept.out
    last = metrics(cli.run("kept"))[-1]
    assert float(last["train/learning_rate"]) == 0.0


# -- what lies in a directory ----------------------------------------------------------------------------------------


def test_a_directory_means_its_newest_checkpoint_with_its_own_moments(cli: Cli, left: Any) -> None:
    run = left("PPO")
    config = drafted(cli, run)
    config.write_text(config.read_text().replace(f"rl_model_vecnormalize_{HALF}", f"rl_model_vecnormalize_{WHOLE}"))
    more = ("--resume.additional_timesteps", 64, "--resume.vecnormalize", "null")
    done = cli("fit", "--config", config, "--resume.checkpoint", run.folder, *more)
    assert f"parent: {run.folder / f'rl_model_{WHOLE}_steps.zip'}" in done.out
    assert f"moments from {run.folder / f'rl_model_vecnormalize_{WHOLE}_steps.pkl'}" in done.out
    own = ("fit", "--config", config, "--resume.checkpoint", run.folder, *more)
    said = json.loads(zipfile.ZipFile(run.zip).read("data")) | {"num_timesteps": 2 * WHOLE}
    later = altered(run.zip, data=json.dumps(said).encode())  # the run is still the one that began from this directory
    assert "nothing to do" in cli(*own).out
    newest = run.folder / f"rl_model_{WHOLE}_steps.zip"
    later.unlink()
    newest.write_bytes(newest.read_bytes()[:-200])  # a kill while SB3 was saving
    words = ("fit", "--config", config, "--resume.checkpoint", run.folder, *more)
    done = cli(*words, "--name", "older")
    assert f"parent: {run.zip}" in done.out
    assert f"WARNING: {newest}: " in done.out
    assert "Passed over." in done.out
    assert str(newest) in cli.error(*words, "--name", "strict", "--resume.strict", "true", expect=65)


def test_the_best_model_goes_with_the_moments_of_its_own_time(cli: Cli, left: Any) -> None:
    run = left("PPO")
    folder = run.folder
    (folder / "Pendulum-v1").mkdir()
    shutil.copy(
        folder / f"rl_model_vecnormalize_{WHOLE}_steps.pkl", folder / "vecnormalize.pkl"
    )  # as the Zoo at the end
    shutil.copy(run.zip, folder / "best_model.zip")
    for command in (["import-sb3", folder / "best_model.zip", "--out", "best.yaml", "--env", "Pendulum-v1"],):
        cli(*command)
        block = yaml.safe_load((cli.cwd / "best.yaml").read_text())["warmstart"]
        assert block["vecnormalize"] == str(folder / f"rl_model_vecnormalize_{HALF}_steps.pkl")
    for path in folder.glob("rl_model_*"):
        if path != run.zip:
            path.unlink()
    config = drafted(cli, run)
    words = ("fit", "--config", config, "--resume.vecnormalize", folder / "vecnormalize.pkl")
    done = cli(*words, "--resume.checkpoint", folder / "best_model.zip")
    assert "WARNING: moments from" in done.out
    assert f"the weights are of timestep {HALF}" in done.out


def test_commands_take_the_directory(cli: Cli, left: Any) -> None:
    run = left("SAC")
    done = cli("import-sb3", run.folder, "--out", "r.yaml", "--env", "Pendulum-v1", "--mode", "resume")
    newest = run.folder / f"rl_model_{WHOLE}_steps.zip"
    assert yaml.safe_load((cli.cwd / "r.yaml").read_text())["resume"] == {"checkpoint": str(newest)}
    assert f"agent: {newest}" in done.out
    shown = cli("show", run.folder).out
    assert f"timesteps: {WHOLE} of {WHOLE}\noptimizer: actor.optimizer, critic.optimizer, ent_coef_optimizer\n" in shown
    assert f"replay: {run.folder / f'rl_model_replay_buffer_{WHOLE}_steps.pkl'}" in shown
    assert load(run.folder).predict(np.zeros(3, np.float32))[0].shape == (1,)
    message = cli.error("adopt", run.folder.parent)
    assert message == (
        f"{run.folder.parent}: no stable-baselines3 zip lies in it, but below it, in {run.folder}; name the directory "
        "that has one, or a zip."
    )
    empty = cli.cwd / "empty"
    empty.mkdir()
    assert "no stable-baselines3 zip lies in it" in cli.error("import-sb3", empty, "--out", "x.yaml")
    assert "no stable-baselines3 zip lies in it" in cli.error(
        "fit", "--config", "r.yaml", "--resume.checkpoint", empty, expect=65
    )


def test_monitor_and_evaluations_go_on(cli: Cli, left: Any) -> None:
    run = left("PPO")
    cli("fit", "--config", drafted(cli, run, eval={"every": 64, "episodes": 2}))
    with np.load(cli.run() / "evaluations.npz") as ours, np.load(run.folder / "evaluations.npz") as theirs:
        before = theirs["timesteps"] <= HALF
        assert before.sum() >= 3
        np.testing.assert_array_equal(ours["results"][: before.sum()], theirs["results"][before])
        assert list(ours["timesteps"]) == list(range(64, WHOLE + 1, 64))
    lines = (cli.run() / "monitor.csv").read_text().splitlines()[2:]
    own = [line.split(",") for line in lines]
    assert len(own) == 2 * (WHOLE // 2 // 20)  # two environments, 20 steps an episode
    played = [row for path in sorted(run.folder.glob("*.monitor.csv")) for row in path.read_text().splitlines()[2:]]
    early = {float(row.split(",")[0]) for row in played}
    assert all(float(row[0]) in early for row in own[: HALF // 20])
    seconds = [float(row[2]) for row in own]
    assert seconds == sorted(seconds)


# -- without a replay ------------------------------------------------------------------------------------------------


def test_without_its_replay_it_fills_one_before_it_learns(cli: Cli, left: Any) -> None:
    run = left("SAC")
    config = drafted(cli, run)
    for path in run.folder.glob("*replay_buffer*"):
        path.unlink()
    done = cli("fit", "--config", config, "--name", "straight")
    until = HALF + 50
    assert f"learning goes on from timestep {until}" in done.out
    updates = {int(r["step"]): r.get("train/n_updates") for r in metrics(cli.run("straight"))}
    assert not any(updates[step] for step in updates if step <= until)
    assert all(updates[step] for step in updates if step > until)
    cli("fit", "--config", config, "--pause_at", HALF + 20, expect=75)
    cli("fit", "--config", config)
    ours, theirs = final_state(cli.run()), final_state(cli.run("straight"))
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None


def test_replay_named_by_its_path(cli: Cli, left: Any) -> None:
    run = left("SAC")
    config = drafted(cli, run)
    own = run.folder / f"rl_model_replay_buffer_{HALF}_steps.pkl"
    other = own.rename(cli.cwd / "elsewhere.pkl")
    done = cli("fit", "--config", config, "--resume.replay", other)
    assert f"replay: {HALF - 1} transitions loaded" in done.out
    assert [Path(each["path"]) for each in lineage(cli.run())["parents"]] == [run.zip, other]
    assert "no file" in cli.error("fit", "--config", config, "--resume.replay", "none.pkl", "--resume.fork", "true")


# -- what cannot go on -----------------------------------------------------------------------------------------------


def altered(path: Path, **members: bytes | None) -> Path:
    """A copy of a zip with some members replaced, or left out."""
    out = path.with_name("altered.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = members.get(name.replace(".", "_"), old.read(name))
            if data is not None:
                new.writestr(name, data)
    return out


def test_what_does_not_fit_is_one_line(cli: Cli, left: Any) -> None:
    run = left("PPO")
    config = drafted(cli, run)
    fit = ("fit", "--config", config)
    message = cli.error(*fit, "--model.gamma", 0.5)
    assert "resume.on_config_change: accept" in message
    assert "model.gamma  0.99  0.5" in message
    assert "changed settings" in cli(*fit, "--model.gamma", 0.5, "--resume.on_config_change", "accept").out
    cli.cwd.joinpath("lightning_logs").rename(cli.cwd / "away")
    assert "policy_kwargs.activation_fn" in cli.error(*fit, "--model.policy_kwargs.activation_fn", "ReLU")
    assert "learning_rate  lin_0.001  0.1" in cli.error(*fit, "--model.learning_rate", 0.1)
    assert "env.normalize.clip_obs  10.0  3.0" in cli.error(*fit, "--env.normalize.clip_obs", 3.0)
    assert "env.normalize.obs: is false" in cli.error(*fit, "--env.normalize.obs", "false")
    assert "env.normalize.reward  True  False" in cli.error(*fit, "--env.normalize.reward", "false")
    assert "env.n_envs  2    4" in cli.error(*fit, "--env.n_envs", 4)
    assert "the observation space of" in cli.error(*fit, "--env.id", "CartPole-v1")
    assert "has shape (1, 8), this model needs (1, 4)" in cli.error(*fit, "--model.policy_kwargs.net_arch", "[4]")
    for path in run.folder.glob("*vecnormalize*"):
        path.unlink()
    assert "resume.vecnormalize: " in cli.error(*fit, "--resume.vecnormalize", "null")
    a2c = left("A2C")
    message = cli.error(*fit, "--resume.checkpoint", a2c.zip)
    assert "is an agent of A2C, but model.class_path is PPO" in message


def test_damaged_states_are_one_line(cli: Cli, left: Any) -> None:
    run = left("PPO")
    config = drafted(cli, run)
    fit = ("fit", "--config", config, "--resume.checkpoint")
    agent = read_agent(run.zip)
    assert agent.policy_optimizer is not None
    broken = json.loads(zipfile.ZipFile(run.zip).read("data"))
    del broken["num_timesteps"]
    assert "num_timesteps is missing" in cli.error(*fit, altered(run.zip, data=json.dumps(broken).encode()), expect=65)
    for change, said in ((float("nan"), "is not finite"), (None, "has shape (3,)")):
        state = agent.policy_optimizer["state"][0]
        kept = state["exp_avg"]
        state["exp_avg"] = torch.full_like(kept, change) if change is not None else torch.zeros(3)
        data = io.BytesIO()
        torch.save(agent.policy_optimizer, data)
        state["exp_avg"] = kept
        assert said in cli.error(*fit, altered(run.zip, policy_optimizer_pth=data.getvalue()), expect=65)
    agent.policy_optimizer["param_groups"][0]["params"].pop()
    data = io.BytesIO()
    torch.save(agent.policy_optimizer, data)
    message = cli.error(*fit, altered(run.zip, policy_optimizer_pth=data.getvalue()), expect=65)
    assert "is not the state of an optimizer of this policy" in message


def test_without_an_optimizer_its_moments_begin_anew(cli: Cli, left: Any) -> None:
    run = left("PPO")
    bare = altered(run.zip, policy_optimizer_pth=None)
    done = cli("fit", "--config", drafted(cli, run), "--resume.checkpoint", bare, "--pause_at", 1, expect=75)
    assert "WARNING: optimizer: the zip does not hold its state" in done.out
    assert not load_lightning(checkpoints(cli.run())[-1])["optimizer_states"][0]["state"]


def test_a_finished_run_is_told_and_adopted(cli: Cli, left: Any) -> None:
    run = left("PPO")
    config, whole = drafted(cli, run), run.folder / f"rl_model_{WHOLE}_steps.zip"
    own = ("--resume.checkpoint", whole, "--resume.vecnormalize", "null")
    done = cli("fit", "--config", config, *own)
    assert done.out.strip() == (
        f"finished: timestep {WHOLE} of {WHOLE}; nothing to do. To go on, give resume.additional_timesteps or "
        "resume.total_timesteps."
    )
    assert not (cli.cwd / "lightning_logs").exists()
    done = cli("adopt", whole, "--env", "Pendulum-v1", "--out", "lightning_logs/run")
    assert "--resume.additional_timesteps N" in done.out
    cli("fit", "--config", cli.run() / "config.yaml", "--resume.additional_timesteps", 64)
    assert final_state(cli.run())["counters"]["timesteps"] == WHOLE + 64
    assert "name the run" in cli.error("adopt", whole, "--env", "Pendulum-v1", "--out", "runs/version_3")


@pytest.mark.slow
def test_two_ranks_go_on(cli: Cli, left: Any) -> None:
    from tests.helpers.cli import lit_rl

    config = drafted(cli, left("PPO"))
    lit_rl("fit", "--config", config, "--trainer.devices", "2", "--name", "two", cwd=cli.cwd)
    lit_rl("fit", "--config", config, "--trainer.devices", "2", "--pause_at", "300", cwd=cli.cwd, expect=75)
    lit_rl("fit", "--config", config, "--trainer.devices", "2", cwd=cli.cwd)
    ours, theirs = final_state(cli.run()), final_state(cli.run("two"))
    for name in ours:
        assert first_difference(ours[name], theirs[name], name) is None


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published agents are not here")
@pytest.mark.parametrize("agent", ["ppo/CartPole-v1_1", "a2c/Pendulum-v1_1", "a2c/HalfCheetah-v3_1",
                                   "dqn/CartPole-v1_1", "sac/Pendulum-v1_1"])  # fmt: skip
def test_published_agents_go_on(cli: Cli, agent: str) -> None:
    cli("adopt", PUBLISHED / agent, "--out", "lightning_logs/run")
    begun = final_state(cli.run())["counters"]["timesteps"]
    cli("fit", "--config", cli.run() / "config.yaml", "--resume.additional_timesteps", 2000, "--resume.schedule",
        "stretch")  # fmt: skip
    assert final_state(cli.run())["counters"]["timesteps"] >= begun + 2000
    assert env_of("PPO") == "Pendulum-v1"
