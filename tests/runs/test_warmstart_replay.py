"""`warmstart.load: [replay]`: a new run begins with the transitions of a trained one, and is exact from there on."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from lit_rl.checkpoint.reader import load_rank
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import checkpoints, final_state, lit_rl
from tests.runs.conftest import Cli
from tests.runs.test_off_policy import BOX, CASES, DISCRETE, NORMALIZED, config_of, same, write

ALL = ("--mode", "warmstart", "--warmstart.load", "[policy, value, replay]")
QUICK = ("DQN, prioritized", "SAC, hindsight")
WARM = (*QUICK, "SAC, moments, wrapped round", "SAC, gSDE", "DQN, windows, double", "TD3")


def replay(cli: Cli, name: str) -> dict[str, Any]:
    """The part of a run's newest checkpoint, with every row in one array a column."""
    found: dict[str, Any] = final_state(cli.run(name))["replay"]
    return found


@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in WARM])
def test_it_is_exact_from_its_first_step_on(cli: Cli, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before learning starts and after; saved at timestep 0 by an error in the first iteration; without the
    trained run, whose files it does not need."""
    monkeypatch.setattr("lit_rl.data.replay.SMALLEST_FILE", 1000)
    config = write(cli, CASES[case])
    cli("fit", "--config", config, "--name", "trained", "--seed_everything", 7)
    load = "[policy, value, obs_moments, replay]" if "moments" in case else "[policy, value, replay]"
    words = ("fit", "--config", config, "--warmstart.checkpoint", cli.run("trained"), "--warmstart.load", load)
    marker = cli.cwd / "failed"
    fails = {"class_path": "tests.runs.test_off_policy.FailsAt", "init_args": {"marker": str(marker), "at": 0}}
    marker.touch()
    config = write(cli, CASES[case], trainer={"callbacks": [fails]})
    said = cli(*words, "--name", "straight", "--mode", "warmstart").out
    assert "transitions loaded" in said
    cli(*words, "--name", "stopped", "--mode", "warmstart", "--pause_at", 20, expect=75)
    marker.unlink()
    with pytest.raises(RuntimeError, match="once"):
        cli(*words, "--name", "failed", "--mode", "warmstart")
    shutil.rmtree(cli.run("trained"))
    assert [c.manifest.timesteps for c in checkpoints(cli.run("failed"))] == [0]
    for name in ("stopped", "failed"):
        cli("fit", "--config", config, "--name", name, "--mode", "resume", "--pause_at", 200, expect=75)
        cli("fit", "--config", config, "--name", name, "--mode", "resume")
        same(cli.run(name), cli.run("straight"))
        cli("verify-checkpoint", cli.run(name))


def test_what_is_there_and_what_it_counts_as(cli: Cli) -> None:
    """Rows of the trained run have numbers below 0; what was in flight is cut off, and leads where it led."""
    over = config_of("SAC", {**BOX, "n_envs": 2}, 256)
    config = write(cli, over)
    cli("fit", "--config", config, "--name", "trained")
    trained = replay(cli, "trained")
    done = cli("fit", "--config", config, "--name", "warm", *ALL, "--warmstart.checkpoint", cli.run("trained"),
               "--total_timesteps", 32, "--seed_everything", 3)  # fmt: skip
    assert "replay: 256 transitions loaded" in done.out
    assert "replay: 256 of 10,000 transitions" in done.out
    warm = replay(cli, "warm")
    assert (warm["begin"], warm["end"]) == (-128, 16)
    theirs, ours = trained["columns"], warm["columns"]
    for name in theirs:
        if not name.startswith("final") and name != "truncated":
            np.testing.assert_array_equal(ours[name][:128], theirs[name])
    cut = np.array(theirs["truncated"])
    cut[-1] |= ~theirs["terminated"][-1]
    np.testing.assert_array_equal(ours["truncated"][:128], cut)
    last = {int(ours["final_env"][i]): i for i in np.flatnonzero(ours["final_row"] == -1)}
    assert sorted(last) == [0, 1]
    for env, i in last.items():
        if not (theirs["terminated"][-1, env] or theirs["truncated"][-1, env]):
            np.testing.assert_array_equal(ours["finals"][i], trained["head"][env])
    early = ours["final_row"] < -1
    np.testing.assert_array_equal(ours["final_row"][early], theirs["final_row"][: early.sum()] - 128)
    np.testing.assert_array_equal(ours["finals"][early], theirs["finals"][: early.sum()])


@pytest.mark.parametrize("case", ["DQN", "SAC"])
def test_schedules_and_draws_count_the_runs_own_steps(cli: Cli, case: str) -> None:
    """What is played before learning starts is what a fresh run plays, and the target network follows when its does."""
    over = config_of(case, DISCRETE if case == "DQN" else BOX, 128, learning_starts=1000)
    if case == "DQN":
        over["model"]["init_args"] |= {"target_update_interval": 33, "tau": 0.5}
    config = write(cli, over)
    cli("fit", "--config", config, "--name", "trained", "--seed_everything", 7, "--total_timesteps", 100)
    cli("fit", "--config", config, "--name", "fresh")
    cli("fit", "--config", config, "--name", "warm", "--mode", "warmstart", "--warmstart.load", "[replay]",
        "--warmstart.checkpoint", cli.run("trained"))  # fmt: skip
    fresh, warm = final_state(cli.run("fresh")), final_state(cli.run("warm"))
    assert warm["replay"]["end"] == fresh["replay"]["end"]
    for name in ("action", "obs", "reward"):
        rows = warm["replay"]["columns"][name]
        np.testing.assert_array_equal(rows[-128:], fresh["replay"]["columns"][name])
        assert len(rows) > 200
    for name in ("policy", "counters", "environments", "streams"):
        assert first_difference(warm[name], fresh[name], name) is None


def test_a_smaller_buffer_keeps_the_newest(cli: Cli) -> None:
    config = write(cli, config_of("DQN", {**DISCRETE, "n_envs": 2}, 256))
    cli("fit", "--config", config, "--name", "trained")
    words = ("--model.buffer_size", 100, "--warmstart.checkpoint", cli.run("trained"), "--total_timesteps", 16)
    done = cli("fit", "--config", config, "--name", "warm", *ALL, *words)
    assert "100 transitions loaded, the newest of 256" in done.out
    ours, theirs = replay(cli, "warm")["columns"], replay(cli, "trained")["columns"]
    np.testing.assert_array_equal(ours["reward"][:-8], theirs["reward"][-42:])
    chained = cli("fit", "--config", config, "--name", "again", *ALL, "--warmstart.checkpoint", cli.run("warm"),
                  "--total_timesteps", 16)  # fmt: skip
    assert "replay: 100 transitions loaded" in chained.out
    np.testing.assert_array_equal(replay(cli, "again")["columns"]["reward"][:50], ours["reward"])


def test_new_priorities_are_the_highest(cli: Cli) -> None:
    over = config_of("DQN", DISCRETE, 256, prioritized_replay=True)
    cli("fit", "--config", write(cli, over), "--name", "trained")
    quiet = write(cli, over, total_timesteps=32)
    cli("fit", "--config", quiet, "--name", "warm", *ALL, "--warmstart.checkpoint", cli.run("trained"))
    state = final_state(cli.run("warm"))["priorities"]
    assert (state["begin"], state["highest"]) == (-256, 1.0)
    np.testing.assert_array_equal(state["columns"]["priority"], np.ones((288, 1)))


LEVELS = {"levels": [
    {"name": "short", "promote": {"metric": "timesteps", "threshold": 64}}, {"name": "long"},
]}  # fmt: skip


@pytest.mark.parametrize("level", [0, 1])
def test_what_a_drop_drops(cli: Cli, level: int) -> None:
    """Levels stay what they were, and what was loaded goes at this run's first promotion, not before."""
    over = config_of("DQN", DISCRETE, 128, on_promotion="drop")
    cli("fit", "--config", write(cli, over, curriculum=LEVELS), "--name", "trained")
    there = replay(cli, "trained")["columns"]["level"]
    words = ("--warmstart.checkpoint", cli.run("trained"), "--warmstart.level", level, "--total_timesteps", 48)
    cli("fit", "--config", cli.cwd / "run.yaml", "--name", "warm", *ALL, *words)
    kept = replay(cli, "warm")["columns"]["level"]
    np.testing.assert_array_equal(kept[: len(there)], there)
    assert set(kept[len(there) :].reshape(-1).tolist()) == {level}
    cli("fit", "--config", cli.cwd / "run.yaml", "--name", "warm", "--mode", "resume", "--resume.total_timesteps", 128)
    assert (len(replay(cli, "warm")["columns"]["level"]) < 128) == (level == 0)


def test_another_algorithms_replay_alone(cli: Cli) -> None:
    """A replay does not depend on who learned from it; nor on moments, for it is raw."""
    cli("fit", "--config", write(cli, CASES["SAC"]), "--name", "trained")
    config = write(cli, config_of("TD3", {**BOX, **NORMALIZED}, 64))
    words = ("--mode", "warmstart", "--warmstart.load", "[replay]", "--warmstart.checkpoint", cli.run("trained"))
    done = cli("fit", "--config", config, "--name", "warm", *words)
    assert "replay: 512 transitions loaded" in done.out
    assert "policy: not loaded (not in warmstart.load)" in done.out


def test_it_is_said_where_it_is_left_out(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "trained", "--total_timesteps", 64)
    words = ("--mode", "warmstart", "--warmstart.checkpoint", cli.run("trained"), "--total_timesteps", 64)
    done = cli("fit", "--config", config, *words)
    assert "replay: not loaded (not in warmstart.load)" in done.out
    assert "replay: 0 of 10,000 transitions" in done.out


def test_what_does_not_fit_is_one_line(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "trained", "--total_timesteps", 64)
    words = ("fit", "--config", config, *ALL, "--warmstart.checkpoint", cli.run("trained"))
    assert cli.error(*words, "--env.n_envs", 2).endswith(
        "is of 1 environments, and env.n_envs is 2; set env.n_envs: 1, or take replay out of warmstart.load."
    )
    alone = ("--warmstart.load", "[replay]", "--warmstart.on_mismatch", "skip")
    other = ("--model.class_path", "DQN", "--env.class_path", DISCRETE["class_path"])
    assert "the replay of" in cli.error(*words, *alone, *other, "--model.init_args", "{}")
    rescale = "{class_path: gymnasium.wrappers.RescaleAction, init_args: {min_action: -3, max_action: 3}}"
    wide = ("--env.wrappers", f"[{rescale}]")
    assert "low[0] is" in cli.error(*words, *wide)
    bare = cli.cwd / "bare.ckpt"
    shutil.copy(checkpoints(cli.run("trained"))[-1].lightning_file, bare)
    assert "bare file without the replay" in cli.error(*words[:-1], bare)


def test_algorithms_without_a_replay_say_so(cli: Cli) -> None:
    config = cli.config({"total_timesteps": 128})
    cli("fit", "--config", config)
    words = ("fit", "--config", config, *ALL, "--warmstart.checkpoint", cli.run())
    assert cli.error(*words) == "warmstart.load: PPO has no replay; take it out."
    dqn = write(cli, config_of("DQN", {"id": "CartPole-v1"}, 64))
    words = ("--mode", "warmstart", "--warmstart.load", "[replay]", "--warmstart.checkpoint", cli.run())
    assert "was written by PPO and has no replay" in cli.error("fit", "--config", dqn, *words)


def test_damaged_rows_are_never_loaded(cli: Cli) -> None:
    config = write(cli, CASES["SAC"])
    cli("fit", "--config", config, "--name", "trained", "--total_timesteps", 64)
    (newest,) = checkpoints(cli.run("trained"))
    (file,) = newest.path.glob("*tail.rows")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert file.name in cli.error("fit", "--config", config, *ALL, "--warmstart.checkpoint", newest.path, expect=65)


@pytest.mark.slow
def test_a_level_that_is_not_there(cli: Cli) -> None:
    """Rewards for other goals are worked out on the level of each transition."""
    reach = {"class_path": envs.PATH + "Reach", "kwargs": {"dimensions": 2, "max_steps": 9}}
    over = config_of("SAC", reach, 128, policy="MultiInputPolicy", her=True)
    three = {"levels": [*LEVELS["levels"][:1], {"name": "b", "promote": {"metric": "timesteps", "threshold": 32}},
                        {"name": "c"}]}  # fmt: skip
    cli("fit", "--config", write(cli, over, curriculum=three), "--name", "trained")
    config = write(cli, over, curriculum=LEVELS)
    message = cli.error("fit", "--config", config, *ALL, "--warmstart.checkpoint", cli.run("trained"))
    assert "has transitions of level 2, and the curriculum has 2" in message


def test_a_rank_file_names_negative_rows(cli: Cli) -> None:
    config = write(cli, CASES["DQN"])
    cli("fit", "--config", config, "--name", "trained", "--total_timesteps", 64)
    cli("fit", "--config", config, "--name", "warm", *ALL, "--warmstart.checkpoint", cli.run("trained"),
        "--total_timesteps", 16)  # fmt: skip
    (newest,) = checkpoints(cli.run("warm"))
    part = load_rank(newest, 0)["replay"]
    assert (part["begin"], part["end"]) == (-64, 16)


def test_several_ranks_neither_give_nor_take_one(cli: Cli) -> None:
    """Each has a replay of its own; it is said before anything is written."""
    config = write(cli, config_of("DQN", {**DISCRETE, "n_envs": 2}, 64))
    two = ("--trainer.devices", 2, "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp")
    cli("fit", "--config", config, "--name", "alone")
    lit_rl("fit", "--config", config, "--name", "together", *map(str, two), cwd=cli.cwd)
    for name, words, said in (
        ("alone", two, "replay is taken over in one process only; set trainer.devices: 1"),
        ("together", (), "was written by 2 ranks, each with the replay of its own environments; take replay out"),
    ):
        start = ("fit", "--config", config, "--name", "warm", *ALL, "--warmstart.checkpoint", cli.run(name))
        lines = lit_rl(*map(str, (*start, *words)), cwd=cli.cwd, expect=2).stderr.strip().splitlines()
        assert said in lines[-1]
        assert "Traceback" not in lines
        assert not cli.run("warm").exists()
