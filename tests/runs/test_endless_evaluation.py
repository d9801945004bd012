"""Episodes of an evaluation that do not end: cut at a limit, given up at a signal."""

from __future__ import annotations

import signal
import time

import pytest

from tests.helpers import envs
from tests.helpers.cli import final_state, lineage, start, wait_for
from tests.runs.conftest import Cli

ENDLESS = {"env": {"id": None, "class_path": envs.PATH + "Endless"}}


def test_an_episode_that_does_not_end_is_cut_and_said(cli: Cli) -> None:
    limit = ("--eval.every", 256, "--eval.episodes", 2, "--eval.max_episode_steps", 50)
    done = cli("fit", "--config", cli.config(ENDLESS), *limit)
    said = "WARNING: 2 of 2 episodes of an evaluation did not end and were cut (eval.max_episode_steps)"
    assert done.out.count(said) == 2
    cli("fit", "--config", cli.config(ENDLESS), "--name", "without")
    for part in ("policy", "environments", "streams"):
        assert str(final_state(cli.run())[part]) == str(final_state(cli.run("without"))[part])
    assert said in cli("test", "--config", cli.config(ENDLESS), *limit[-2:], "--episodes", 2).out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_seconds_and_the_run_goes_on(cli: Cli, number: signal.Signals) -> None:
    words = ("fit", "--config", cli.config(ENDLESS), "--eval.every", 256, "--eval.max_episode_steps", 10**9)
    process = start(*words, cwd=cli.cwd)
    wait_for(lambda: (cli.run() / "checkpoints" / "t0000000128-s001").exists())
    time.sleep(1.0)
    begin = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, out + err
    assert time.monotonic() - begin < 20
    assert f"{number.name}: stopping at the end of this iteration (evaluating, timestep 256), and saving" in err
    assert lineage(cli.run())["segments"][0]["cause"] == number.name
    cli(*words[:3], "--mode", "resume")
    cli(*words[:3], "--name", "straight")
    for part in ("policy", "environments", "streams"):
        assert str(final_state(cli.run())[part]) == str(final_state(cli.run("straight"))[part])
