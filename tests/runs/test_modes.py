"""Every cell of the table of modes, part by part."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lit_rl import PPO, CheckpointConfig, EnvConfig, NormalizeConfig, begin
from lit_rl.state.parts import by_part
from lit_rl.state.plain import digest, first_difference
from tests.helpers.cli import checkpoints, final_state, lineage, metrics, parts
from tests.runs.conftest import Cli

MOMENTS = {"env": {"id": "Pendulum-v1", "max_episode_steps": 40, "normalize": {"obs": True, "reward": True}}}
NOT_LEARNED = ("clock",)


def equal(a: dict[str, Any], b: dict[str, Any], leave_out: tuple[str, ...] = ()) -> None:
    assert a.keys() == b.keys()
    for name in a.keys() - set(leave_out):
        assert first_difference(a[name], b[name], name) is None


def same_metrics(a: Path, b: Path) -> None:
    assert metrics(a) == metrics(b)


# -- fresh -----------------------------------------------------------------------------------------------------------


def test_fresh_runs_of_one_seed_are_equal_and_of_another_are_not(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    cli("fit", "--config", config)
    cli("fit", "--config", config, "--seed_everything", 2)
    first, second, other = (cli.run(version=i) for i in range(3))
    equal(final_state(first), final_state(second))
    same_metrics(first, second)
    assert lineage(first)["run_id"] != lineage(second)["run_id"]
    assert digest(final_state(first)["policy"]) != digest(final_state(other)["policy"])


def test_fresh_initial_weights_do_not_depend_on_the_global_stream() -> None:
    modules = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = PPO(env=EnvConfig(id="CartPole-v1"), n_steps=8, seed=3)
        before = torch.get_rng_state()
        module.build_envs()
        module.build_networks()
        assert torch.equal(torch.get_rng_state(), before)
        modules.append(module.state_dict())
    assert first_difference(*modules) is None


def test_a_run_lasts_until_the_first_boundary_at_or_past_its_target(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"total_timesteps": 129}))
    assert final_state(cli.run())["counters"]["timesteps"] == 256
    cli("fit", "--config", cli.config({"total_timesteps": 256}))
    assert final_state(cli.run(version=1))["counters"]["timesteps"] == 256


# -- resume ----------------------------------------------------------------------------------------------------------


def test_resume_brings_every_part_back(cli: Cli) -> None:
    """The state right before the first resumed iteration is the checkpoint's, field by field."""
    cli("fit", "--config", cli.config(MOMENTS), "--pause_at", 256, expect=75)
    module = PPO(
        env=EnvConfig(
            id="Pendulum-v1",
            n_envs=4,
            backend="sync",
            max_episode_steps=40,
            normalize=NormalizeConfig(obs=True, reward=True),
        ),
        n_steps=32,
        batch_size=64,
        n_epochs=2,
        policy_kwargs={"net_arch": [8]},
        total_timesteps=512,
        seed=1,
    )
    run = begin(module, mode="resume", checkpoint=CheckpointConfig(every_timesteps=128, keep_last=10))
    assert run is not None
    seen: dict[str, Any] = {}

    class Look(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            rank = module.capture_rank()
            trainer.save_checkpoint(cli.cwd / "now.ckpt", weights_only=False)
            lightning = torch.load(cli.cwd / "now.ckpt", weights_only=True)
            seen.update(by_part(lightning, [rank]))
            trainer.should_stop = True

    trainer = Trainer(
        callbacks=[*run.callbacks, Look()], logger=run.loggers, max_epochs=-1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
    )  # fmt: skip
    stored = parts(checkpoints(cli.run())[-1])
    with run:
        trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)
    equal(seen, stored)


@pytest.mark.parametrize("over", [{}, MOMENTS], ids=["cartpole", "moments"])
def test_paused_and_resumed_equals_uninterrupted(cli: Cli, over: dict[str, Any]) -> None:
    config = cli.config(over)
    cli("fit", "--config", config)
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", 200, expect=75)
    done = cli("fit", "--config", config, "--name", "stopped", "--mode", "resume")
    assert "mode: resume" in done.out
    assert "timestep: 256 of 512" in done.out
    equal(final_state(cli.run()), final_state(cli.run("stopped")))
    same_metrics(cli.run(), cli.run("stopped"))


def test_ckpt_path_resumes_whatever_mode_says(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    cli("fit", "--config", config, "--name", "stopped", "--pause_at", 128, expect=75)
    for path in (cli.run("stopped"), cli.run("stopped") / "checkpoints" / "last" / "lightning.ckpt"):
        copy = cli.cwd / f"copy_of_{path.name}"
        shutil.copytree(cli.run("stopped"), copy / "run", symlinks=True)
        target = copy / "run" / path.relative_to(cli.run("stopped"))
        done = cli("fit", "--config", config, "--mode", "warmstart", "--ckpt_path", target)
        assert "mode: resume" in done.out
        equal(final_state(cli.run()), final_state(copy / "run"))
    assert not cli.run(version=1).exists()


def test_a_finished_run_without_a_new_target_says_so(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    before = {path: path.read_bytes() for path in cli.run().rglob("*") if path.is_file()}
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "finished: timestep 512 of 512; nothing to do" in done.out
    assert {path: path.read_bytes() for path in cli.run().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "option", [("resume.total_timesteps", 512), ("resume.additional_timesteps", 256), ("total_timesteps", 512)]
)
def test_a_finished_run_goes_on_to_a_new_target(cli: Cli, option: tuple[str, int]) -> None:
    """With constant schedules the longer run is the one that had the target from the start."""
    config = cli.config()
    cli("fit", "--config", config)
    cli("fit", "--config", config, "--name", "short", "--total_timesteps", 256)
    words = ["--total_timesteps", 256] if option[0].startswith("resume") else []
    cli("fit", "--config", config, "--name", "short", *words, "--mode", "resume", f"--{option[0]}", option[1])
    equal(final_state(cli.run()), final_state(cli.run("short")), NOT_LEARNED)
    same_metrics(cli.run(), cli.run("short"))


def test_an_extended_run_keeps_its_own_target(cli: Cli) -> None:
    config = cli.config({"total_timesteps": 256})
    cli("fit", "--config", config)
    extend = ("fit", "--config", config, "--mode", "resume", "--resume.total_timesteps", 640)
    cli(*extend, "--pause_at", 384, expect=75)
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "timestep: 384 of 640" in done.out
    assert final_state(cli.run())["counters"]["timesteps"] == 640


@pytest.mark.parametrize(
    ("schedule", "learning_rates", "clip_ranges"),
    [
        ("keep", [0.0, 0.0], [0.1, 0.1]),
        ("stretch", [0.001 * 0.25, 0.0], [0.125, 0.1]),
        ("hold", [0.0, 0.0], [0.1, 0.1]),
    ],
)
def test_schedules_when_a_finished_run_goes_on(
    cli: Cli, schedule: str, learning_rates: list[float], clip_ranges: list[float]
) -> None:
    config = cli.config(
        {
            "total_timesteps": 256,
            "model": {"init_args": {"learning_rate": "lin_0.001", "clip_range": {"start": 0.2, "end": 0.1}}},
        }
    )
    cli("fit", "--config", config)
    words = ("--resume.total_timesteps", 512, "--resume.schedule", schedule)
    done = cli("fit", "--config", config, "--mode", "resume", *words)
    assert f"schedules {schedule}" in done.out
    assert ("learning rate is 0 from timestep 256" in done.out) == (schedule != "stretch")
    rows = metrics(cli.run())
    assert [float(row["train/learning_rate"]) for row in rows] == pytest.approx([0.0005, 0.0, *learning_rates])
    assert [float(row["train/clip_range"]) for row in rows] == pytest.approx([0.15, 0.1, *clip_ranges])


@pytest.mark.parametrize(("schedule", "expected"), [("keep", 0.25), ("stretch", 0.625), ("hold", 0.5)])
def test_schedules_when_a_paused_run_gets_a_new_target(cli: Cli, schedule: str, expected: float) -> None:
    config = cli.config({"model": {"init_args": {"learning_rate": "lin_0.001"}}})
    cli("fit", "--config", config, "--pause_at", 256, expect=75)
    words = ("--resume.total_timesteps", 1024, "--resume.schedule", schedule, "--pause_at", 384)
    cli("fit", "--config", config, "--mode", "resume", *words, expect=75)
    assert float(metrics(cli.run())[-1]["train/learning_rate"]) == pytest.approx(0.001 * expected)


def test_best_is_the_checkpoint_with_the_highest_score(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--total_timesteps", 1024)
    saved = checkpoints(cli.run())
    best = max(saved, key=lambda c: c.manifest.score or 0.0)
    assert (cli.run() / "checkpoints" / "best").resolve() == best.path
    assert (cli.run() / "checkpoints" / "last").resolve() == saved[-1].path
    words = ("--resume.checkpoint", "best", "--resume.total_timesteps", best.manifest.timesteps + 128)
    done = cli("fit", "--config", config, "--mode", "resume", *words)
    assert f"checkpoint: {best.path.name}" in done.out


def test_going_on_from_an_older_checkpoint_makes_that_the_history(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config)
    straight, rows = final_state(cli.run()), metrics(cli.run())
    older = checkpoints(cli.run())[1].path
    cli("fit", "--config", config, "--ckpt_path", older, "--pause_at", 384, expect=75)
    assert [row["step"] for row in metrics(cli.run())] == ["128", "256", "384"]
    done = cli("fit", "--config", config, "--mode", "resume")
    assert "timestep: 384 of 512" in done.out
    assert metrics(cli.run()) == rows
    equal(straight, final_state(cli.run()))


# -- all modes -------------------------------------------------------------------------------------------------------


def test_the_run_directory_holds_what_is_promised(cli: Cli) -> None:
    cli("fit", "--config", cli.config())
    run = cli.run()
    assert {"config.yaml", "lineage.json", "metrics.csv", "checkpoints"} <= {path.name for path in run.iterdir()}
    assert list(run.glob("events.out.tfevents.*"))
    cli("fit", "--config", run / "config.yaml", "--name", "again")
    equal(final_state(run), final_state(cli.run("again")))


def test_lineage_records_segments_with_causes(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    accept = ("--model.ent_coef", 0.01, "--resume.on_config_change", "accept")
    cli("fit", "--config", config, "--mode", "resume", *accept)
    first, second = lineage(cli.run())["segments"]
    assert (first["mode"], first["cause"], first["from_timesteps"], first["to_timesteps"]) == (
        "fresh",
        "pause_at",
        0,
        128,
    )
    assert (second["mode"], second["cause"], second["to_timesteps"]) == ("resume", "finished", 512)
    assert second["checkpoint"] == "t0000000128-s001"
    assert second["config_changes"] == ["model.ent_coef: 0.0 -> 0.01"]
    assert second["versions"]["torch"] == importlib.metadata.version("torch")
    assert second["command"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--env.backend", "async", "--trainer.deterministic", "true"), 75, ""),
        (("--model.gamma", 0.5), 2, "model.gamma"),
        (("--seed_everything", 5), 2, "seed_everything"),
        (("--env.max_episode_steps", 9), 2, "env.max_episode_steps"),
        (("--model.gamma", 0.5, "--resume.on_config_change", "accept"), 75, "model.gamma"),
        (("--model.gamma", 0.5, "--resume.on_config_change", "warn"), 75, "WARNING"),
        (("--env.n_envs", 8), 2, "env.n_envs"),
        (("--env.n_envs", 8, "--resume.on_config_change", "accept"), 75, "environments 4 to 7 are begun anew"),
        (("--env.n_envs", 2, "--resume.on_config_change", "accept"), 75, "environments 2 to 3 are given up"),
    ],
)
def test_config_drift(cli: Cli, words: tuple[Any, ...], code: int, text: str) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    done = cli("fit", "--config", config, "--mode", "resume", "--pause_at", 256, *words, expect=code)
    assert text in done.out + done.err
    if text and text[0] != "W":
        assert "now" in done.out + done.err


def test_an_accepted_change_is_used(cli: Cli) -> None:
    config = cli.config()
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    accept = ("--model.learning_rate", 0.01, "--resume.on_config_change", "accept")
    cli("fit", "--config", config, "--mode", "resume", *accept)
    assert [float(row["train/learning_rate"]) for row in metrics(cli.run())] == [3e-4, 0.01, 0.01, 0.01]


def test_show_says_what_a_run_is(cli: Cli) -> None:
    cli("fit", "--config", cli.config())
    text = cli("show", cli.run()).out
    assert "mode: fresh" in text
    assert "timestep: 512 of 512" in text
    described = json.loads(cli("show", cli.run(), "--json").out)
    assert described["run_id"] == lineage(cli.run())["run_id"]
    state = final_state(cli.run())
    assert described["parts"] == {name: digest(part) for name, part in state.items()}
    assert described["state"] == digest(described["parts"])


def test_resume_require_exact_refuses_a_boundary_environment(cli: Cli) -> None:
    over = {"env": {"id": None, "class_path": "tests.helpers.envs.CarriesState", "max_episode_steps": 25}}
    config = cli.config(over)
    done = cli("fit", "--config", config, "--pause_at", 128, expect=75)
    assert "resume grade boundary" in done.out
    words = ("fit", "--config", config, "--mode", "resume")
    assert "env.fresh_instance" in cli.error(*words, "--resume.require", "exact")
    cli(*words)
