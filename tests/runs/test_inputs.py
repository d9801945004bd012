"""Every kind of wrong input is one line with the key and the fix; what can be meant is done."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.cli import error_of, write_config
from tests.runs.conftest import Cli

MAKINGS = "tests.helpers.makings"
NARROW = "tests.helpers.networks.Narrow"


def written(cli: Cli, name: str = "run") -> dict[str, Any]:
    """The configuration that a run keeps."""
    found: dict[str, Any] = yaml.safe_load((cli.run(name) / "config.yaml").read_text())
    return found


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"seed_everything": True}, "seed_everything: expected a whole number, got true. Give one, such as 0"),
        ({"seed_everything": None}, "seed_everything: expected a whole number, got null. Give one, such as 0"),
        ({"seed_everything": -5}, "seed_everything is -5; it must be from 0 to 4294967295."),
        ({"seed_everything": 2**40}, "seed_everything is 1099511627776; it must be from 0"),
        ({"model": {"init_args": {"learning_rate": -1}}}, "model.learning_rate is -1.0; it must be at least 0."),
        ({"model": {"init_args": {"learning_rate": float("nan")}}}, "model.learning_rate is nan"),
        ({"model": {"init_args": {"learning_rate": "lin_-1"}}}, "model.learning_rate is -1.0"),
        ({"model": {"init_args": {"learning_rate": "0.1"}}}, "model.learning_rate: expected a number, got '0.1'."),
        ({"model": {"init_args": {"clip_range": {"start": 0.2, "end": -0.1}}}}, "model.clip_range.end is -0.1"),
        ({"model": {"init_args": {"clip_range": 0.0}}}, "model.clip_range is 0.0; it must be above 0."),
        ({"model": {"init_args": {"gae_lambda": 1.5}}}, "model.gae_lambda is 1.5; it must be from 0 to 1."),
        ({"model": {"init_args": {"n_epochs": True}}}, "model.n_epochs: expected a whole number, got true."),
        ({"model": {"init_args": {"use_sde": "no"}}}, "model.use_sde: expected true or false, got 'no'."),
        ({"env": {"normalize": {"clip_obs": -1}}}, "env.normalize.clip_obs is -1; it must be above 0."),
        ({"env": {"max_episode_steps": 0}}, "env.max_episode_steps is 0; it must be at least 1, or null."),
        ({"env": {"n_envs": "8"}}, "env.n_envs: expected a whole number, got '8'. Write it without quotes."),
        ({"env": "CartPole-v1"}, "env: expected keys and values, such as `env: {id: CartPole-v1}`"),
        ({"env": {"kwargs": {1: 2}}}, "env.kwargs: key 1 is no name of an argument"),
        ({"eval": {"every": 1e4}}, "eval.every: expected a whole number, or null, got 10000.0. Write 10000."),
        ({"checkpoint": {"every_minutes": 0}}, "checkpoint.every_minutes is 0; it must be above 0, or null."),
        ({"name": ""}, "name: '' is empty"),
        ({"name": "a" * 300}, "is longer than 200 bytes"),
        ({"name": "a/b"}, "name: 'a/b' holds a slash; trainer.default_root_dir says where runs lie"),
        ({"name": ".."}, "name: '..' is no name of a directory"),
        ({"name": "a\0b"}, "is no name of a directory"),
        ({"name": 3}, "name: expected text, got 3. Put it in quotes."),
        ({"learning_rate": 1e-3}, "unknown key 'learning_rate'. It belongs below a block: model.learning_rate."),
    ],
)
def test_numbers_flags_and_names(cli: Cli, over: dict[str, Any], text: str) -> None:
    message = cli.error("fit", "--config", cli.config(over))
    assert text in message
    assert "\n" not in message


def test_what_stable_baselines3_takes_is_taken(cli: Cli) -> None:
    settings = {"gamma": 1.0, "gae_lambda": 0.0, "ent_coef": 0.0, "vf_coef": 0.0, "learning_rate": 0, "target_kl": None}
    settings |= {"max_grad_norm": float("inf"), "clip_range": "lin_0.2", "clip_range_vf": None, "sde_sample_freq": -1}
    over = {"model": {"init_args": settings}, "env": {"normalize": {"reward": True, "clip_reward": float("inf")}}}
    cli("fit", "--config", cli.config(over), "--pause_at", 1, expect=75)


@pytest.mark.parametrize(
    ("option", "value", "instead"),
    [
        ("max_steps", 3, "total_timesteps"),
        ("max_epochs", 3, "total_timesteps"),
        ("min_steps", 1, "total_timesteps"),
        ("min_epochs", 1, "total_timesteps"),
        ("overfit_batches", 1, "remove it"),
        ("limit_train_batches", 0, "--pause_at"),
        ("limit_train_batches", 1, "--pause_at"),
        ("limit_val_batches", 0, "eval block"),
        ("limit_test_batches", 5, "--episodes"),
        ("fast_dev_run", True, "--pause_at 1"),
        ("val_check_interval", 10, "eval block"),
        ("check_val_every_n_epoch", 2, "eval block"),
        ("num_sanity_val_steps", 1, "eval block"),
        ("log_every_n_steps", 10, "cycles_per_iteration"),
        ("reload_dataloaders_every_n_epochs", 1, "remove it"),
        ("enable_checkpointing", True, "checkpoint block"),
        ("barebones", True, "remove it"),
        ("sync_batchnorm", True, "remove it"),
        ("use_distributed_sampler", False, "remove it"),
        ("gradient_clip_val", 0.5, "model.max_grad_norm"),
        ("accumulate_grad_batches", 2, "model.batch_size"),
    ],
)
def test_options_of_the_trainer_that_mean_nothing_here(cli: Cli, option: str, value: Any, instead: str) -> None:
    message = cli.error("fit", "--config", cli.config(), f"--trainer.{option}", value)
    assert message.startswith(f"trainer.{option} is not used here; ")
    assert instead in message
    assert cli.error("fit", "--config", cli.config({"trainer": {option: value}})) == message


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("devices", "many", "trainer.devices: 'many' is neither a number of devices"),
        ("devices", 0, "trainer.devices: 0 is neither"),
        ("max_time", "soon", "trainer.max_time: 'soon' is no time"),
        ("max_time", {"hour": 1}, "trainer.max_time: unknown key 'hour'; it takes weeks, days, hours"),
        ("precision", "32-ture", "Did you mean '32-true'?"),
        ("profiler", "simpel", "trainer.profiler: 'simpel' is not one of simple, advanced"),
        ("strategy", "dpp", "trainer.strategy: "),
        ("deterministic", "maybe", "trainer.deterministic: "),
        (
            "logger",
            "CometLogger",
            "CometLogger needs a package that is not installed. Install it with `pip install comet-ml`",
        ),
        ("logger", "CSVLoger", "trainer.logger.class_path: there is no 'CSVLoger'"),
        ("logger", "CSVLogger", "trainer.logger.init_args.save_dir is missing; CSVLogger needs it."),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dirr": "x"}}, "Did you mean 'save_dir'?"),
        ("logger", {"class_path": "CSVLogger", "init_args": {"save_dir": 3}}, "trainer.logger.init_args.save_dir"),
        ("callbacks", [{"class_path": f"{MAKINGS}.Fussy"}], "trainer.callbacks.init_args.level is missing"),
        ("callbacks", [f"{MAKINGS}.Fusy"], "Did you mean 'Fussy'?"),
        (
            "callbacks",
            [f"{MAKINGS}.Taker"],
            f"trainer.callbacks.class_path: {MAKINGS}.Taker is not a Lightning Callback",
        ),
        ("callbacks", ["LearningRateMonitro"], "Did you mean 'LearningRateMonitor'?"),
        (
            "callbacks",
            [{"class_path": f"{MAKINGS}.Fussy", "init_args": {"level": -1}}],
            "trainer.callbacks: Fussy raised ValueError: a negative level (",
        ),
        (
            "callbacks",
            ["Timer", {"class_path": f"{MAKINGS}.Fussy", "init_args": {"level": 1, "quite": True}}],
            "trainer.callbacks[1].init_args: unknown key 'quite'. Did you mean 'quiet'?",
        ),
        ("callbacks", ["ModelCheckpoint"], "ModelCheckpoint is not used here; the checkpoint block"),
        ("callbacks", [{"class_path": "StochasticWeightAveraging"}], "StochasticWeightAveraging is not used here"),
        ("callbacks", ["GradientAccumulationScheduler"], "set model.batch_size"),
        ("callbacks", ["LearningRateFinder"], "give the setting a schedule"),
        ("callbacks", ["BatchSizeFinder"], "set model.batch_size"),
        ("callbacks", ["BackboneFinetuning"], "BackboneFinetuning is not used here"),
        ("callbacks", ["RichProgressBar"], "trainer.enable_progress_bar: false switches it off"),
    ],
)
def test_what_the_trainer_is_made_of(cli: Cli, option: str, value: Any, text: str) -> None:
    message = cli.error("fit", "--config", cli.config({"trainer": {option: value}}))
    assert text in message
    assert "\n" not in message


def test_classes_on_the_command_line_are_put_together(cli: Cli) -> None:
    words = ("fit", "--config", cli.config(), "--pause_at", 1, "--trainer.callbacks+=Timer")
    fussy = ("--trainer.callbacks+", f"{MAKINGS}.Fussy")
    assert "Did you mean 'level'?" in cli.error(*words, *fussy, "--trainer.callbacks.levle", 3)
    cli(*words, *fussy, "--trainer.callbacks.level", 3, expect=75)
    callbacks = written(cli)["trainer"]["callbacks"]
    assert [each["class_path"].rsplit(".", 1)[-1] for each in callbacks] == ["Timer", "Fussy"]
    assert callbacks[1]["init_args"]["level"] == 3


@pytest.mark.parametrize("callback", ["Timer", "LearningRateMonitor", "ModelSummary", "LambdaCallback"])
def test_callbacks_of_lightning_that_work(cli: Cli, callback: str) -> None:
    cli("fit", "--config", cli.config({"trainer": {"callbacks": [callback]}}))
    with open(cli.run() / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    if callback == "LearningRateMonitor":
        steps = [row["step"] for row in rows if row["lr-Adam"]]
        assert steps == ["0", "128", "256", "384"], "its steps are the run's timesteps"


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("shown", [True, False])
def test_the_bar_is_ours_or_there_is_none(cli: Cli, monkeypatch: pytest.MonkeyPatch, shown: bool, rich: bool) -> None:
    if rich:  # where it is installed, Lightning's own bar and table of the model are made with it
        pytest.importorskip("rich")
    monkeypatch.setattr("lightning.pytorch.trainer.connectors.callback_connector._RICH_AVAILABLE", rich)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    done = cli("fit", "--config", cli.config(), "--trainer.enable_progress_bar", str(shown).lower())
    assert ("100% |██████████| 512/512" in done.err) is shown
    assert "Epoch" not in done.out + done.err


# -- free dictionaries ---------------------------------------------------------------------------------------------


def test_free_dictionaries_merge_in_their_order(cli: Cli) -> None:
    first = cli.config(
        {"env": {"id": None, "class_path": f"{MAKINGS}.Taker", "kwargs": {"a": 1, "deep": {"x": 1, "y": 2}}}}
    )
    second = cli.cwd / "second.yaml"
    second.write_text("env: {kwargs: {b: 2, deep: {y: 3}}}\nmodel: {init_args: {policy_kwargs: {ortho_init: false}}}\n")
    words = ("fit", "--config", first, "--env.kwargs.c", "1e-3", "--config", second, "--pause_at", 1)
    words += ("--env.kwargs", '{d: "1e3", a: [4]}', "--model.policy_kwargs.net_arch", "[4, 4]")
    cli(*words, expect=75)
    config = written(cli)
    assert config["env"]["kwargs"] == {"a": [4], "deep": {"x": 1, "y": 3}, "b": 2, "c": 0.001, "d": "1e3"}
    assert config["model"]["init_args"]["policy_kwargs"] == {"net_arch": [4, 4], "ortho_init": False}


def test_null_takes_a_free_dictionary_away_and_a_later_model_keeps_it(cli: Cli) -> None:
    second = cli.cwd / "second.yaml"
    second.write_text("env: {kwargs: null}\nmodel: {class_path: A2C, init_args: {n_steps: 4}}\n")
    first = cli.config({"env": {"kwargs": {"render_mode": "rgb_array"}}})
    cli("fit", "--config", first, "--config", second)
    config = written(cli)
    assert config["env"]["kwargs"] == {}
    assert config["model"]["class_path"].endswith("A2C")
    assert config["model"]["init_args"]["policy_kwargs"] == {"net_arch": [8]}


def test_the_kept_configuration_says_the_same_again(cli: Cli) -> None:
    over = {"env": {"id": None, "class_path": f"{MAKINGS}.Taker", "kwargs": {"a": "1e3", "b": float("nan"), "c": "3"}}}
    cli("fit", "--config", cli.config(over), "--pause_at", 1, expect=75)
    kept = cli.run() / "config.yaml"
    done = cli("fit", "--config", kept, "--mode", "resume", "--pause_at", "null")
    assert "differ" not in done.out


def test_an_environment_by_its_class_alone(cli: Cli) -> None:
    second = cli.cwd / "second.yaml"
    second.write_text(f"env: {{class_path: {MAKINGS}.Taker, kwargs: {{a: 1}}}}\n")
    cli("fit", "--config", cli.config({"env": {"id": None}}), "--config", second, "--pause_at", 1, expect=75)
    env = written(cli)["env"]
    assert (env["class_path"], env["kwargs"], env["n_envs"]) == (f"{MAKINGS}.Taker", {"a": 1}, 4)


# -- values that no checkpoint can hold ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ("{weights: {0.5: 1.0}}", "env.kwargs.weights: key 0.5 is a float, which no checkpoint can hold"),
        ("{weights: {true: 1.0}}", "env.kwargs.weights: key true is a bool"),
        ("{a: [{b: !!set {x}}]}", "env.kwargs.a[0].b: {'x'} is a set, which no checkpoint can hold"),
        ("{a: !!binary aGVsbG8=}", "env.kwargs.a: b'hello' is a bytes"),
    ],
)
def test_values_that_no_checkpoint_can_hold(cli: Cli, kwargs: str, text: str) -> None:
    path = cli.cwd / "kwargs.yaml"
    path.write_text(f"env: {{id: null, class_path: {MAKINGS}.Taker, kwargs: {kwargs}}}\n")
    assert text in cli.error("fit", "--config", cli.config({"env": {"id": None}}), "--config", path)


# -- policies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"features_extractor_kwargs": {"activation": "torch.nn.ReLU"}}, "Did you mean 'activation_fn'?"),
        (
            {"features_extractor_kwargs": {"activation_fn": "torch.nn.RelU"}},
            "activation_fn: module 'torch.nn' has no 'RelU'",
        ),
        ({"features_extractor_kwargs": {"activation_fn": "torch.relu"}}, "is not a class"),
        ({"features_extractor_kwargs": {"bias": "no"}}, "features_extractor_kwargs.bias: expected true or false"),
        ({"features_extractor_kwargs": {"features_dim": 99}}, "Narrow(features_dim=99) raised ValueError: too wide"),
        ({"features_extractor_class": f"{MAKINGS}.Taker"}, "Taker is not a class below stable-baselines3's"),
        ({"activation_fn": "torch.optim.Adam"}, "activation_fn: Adam is not a class below torch.nn.Module."),
        (
            {"activation_fn": "Relu"},
            "there is no 'Relu' in torch.nn; give the import path of a class. Did you mean 'ReLU'?",
        ),
        (
            {"optimizer_class": "Adamw"},
            "there is no 'Adamw' in torch.optim; give the import path of a class. Did you mean 'AdamW'?",
        ),
        ({"optimizer_class": "torch.optim.LBFGS"}, "optimizer_class: LBFGS needs a closure"),
        ({"optimizer_class": "torch.optim.Muon"}, "optimizer_class: Muon() raised ValueError: Muon only supports 2D"),
        ({"optimizer_class": "torch.optim.SparseAdam"}, "optimizer_class: SparseAdam() raised"),
        (
            {"optimizer_kwargs": {"weight_decya": 0.1}},
            "optimizer_kwargs: unknown key 'weight_decya'. Did you mean 'weight_decay'?",
        ),
        ({"optimizer_kwargs": {"eps": -1.0}}, "Adam(eps=-1.0) raised ValueError: Invalid epsilon"),
        ({"optimizer_kwargs": {"lr": 0.1}}, "optimizer_kwargs.lr: is not given here; write model.learning_rate."),
        ({"net_arch": [0]}, "net_arch[0] is 0; it must be at least 1."),
        ({"net_arch": {"po": [8]}}, "net_arch: unknown key 'po'; it takes pi and vf."),
        ({"ortho_init": "no"}, "ortho_init: expected true or false, got 'no'."),
        ({"use_sde": True}, "use_sde: is not given here; write model.use_sde."),
    ],
)
def test_policies_that_cannot_be_made(cli: Cli, kwargs: dict[str, Any], text: str) -> None:
    kwargs = {"features_extractor_class": NARROW, **kwargs}
    message = cli.error("fit", "--config", cli.config({"model": {"init_args": {"policy_kwargs": kwargs}}}))
    assert message.startswith("model.policy_kwargs")
    assert text in message
    assert "\n" not in message


def test_classes_by_name_at_any_depth_train_and_resume(cli: Cli) -> None:
    kwargs = {
        "features_extractor_class": NARROW,
        "features_extractor_kwargs": {"activation_fn": "torch.nn.ReLU", "features_dim": 4},
        "optimizer_class": "torch.optim.SGD",
        "optimizer_kwargs": {"momentum": 0.5},
    }
    config = cli.config({"model": {"init_args": {"policy_kwargs": kwargs}}})
    cli("fit", "--config", config, "--pause_at", 128, expect=75)
    assert "differ" not in cli("fit", "--config", config, "--mode", "resume").out


# -- environments and wrappers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"class_path": f"{MAKINGS}.NoServer"}, "env.kwargs: NoServer() raised ConnectionError: nobody at port 3 ("),
        ({"class_path": f"{MAKINGS}.Asserts"}, "raised AssertionError: assert limit > 9 ("),
        (
            {"class_path": f"{MAKINGS}.seven"},
            "env.class_path: tests.helpers.makings.seven gives a int, which is no gymnasium.Env",
        ),
        ({"class_path": f"{MAKINGS}.Nosever"}, "has no 'Nosever'. Did you mean 'NoServer'?"),
        ({"class_path": "NoDots"}, "env.class_path: 'NoDots' is no import path; write module.Class."),
        ({"class_path": f"{MAKINGS}.Asserts", "kwargs": {"limt": 3}}, "Did you mean 'limit'?"),
        ({"id": "CartPole-v1", "kwargs": {"render_mod": "human"}}, "Did you mean 'render_mode'?"),
        ({"id": "Reacher-v2"}, "env.id: Reacher-v2 cannot be made any more. It is Reacher-v5 today"),
        ({"id": "HalfCheetah-v3"}, "It is HalfCheetah-v5 today"),
        ({"id": "LunarLander-v2"}, "It is LunarLander-v3 today"),
        (
            {"id": "CartPole-v1", "wrappers": [f"{MAKINGS}.Broken"]},
            "env.wrappers[0].init_args: Broken() raised KeyError: 'scale' (",
        ),
        (
            {"id": "CartPole-v1", "wrappers": [{"class_path": f"{MAKINGS}.Broken", "init_args": {"sclae": 1}}]},
            "Did you mean 'scale'?",
        ),
        (
            {
                "id": "CartPole-v1",
                "wrappers": [
                    {"class_path": "gymnasium.wrappers.RescaleAction", "init_args": {"min_action": -1, "max_action": 1}}
                ],
            },
            "RescaleAction(max_action=1, min_action=-1) raised TypeError: RescaleAction requires a Box action space",
        ),
        (
            {"id": "CartPole-v1", "wrappers": [3]},
            "env.wrappers[0]: expected a class_path, or class_path and init_args, got 3.",
        ),
    ],
)
def test_environments_that_cannot_be_made(cli: Cli, env: dict[str, Any], text: str) -> None:
    message = cli.error("fit", "--config", cli.config({"env": {"id": None, **env}}))
    assert text in message
    assert "\n" not in message
    if " (" in text[-2:]:
        assert "tests/helpers/makings.py:" in message


def test_a_recorder_without_its_package_names_the_extra(cli: Cli) -> None:
    pytest.importorskip("gymnasium")
    try:
        import moviepy  # noqa: F401
    except ModuleNotFoundError:
        pass
    else:
        pytest.skip("moviepy is there")
    wrapper = {"class_path": "gymnasium.wrappers.RecordVideo", "init_args": {"video_folder": str(cli.cwd / "video")}}
    env = {"kwargs": {"render_mode": "rgb_array"}, "wrappers": [wrapper]}
    message = cli.error("fit", "--config", cli.config({"env": env}))
    assert "env.wrappers[0]: RecordVideo needs a package that is not installed" in message
    assert "pip install 'lit-rl[video]'" in message


def test_an_environment_that_cannot_be_closed_loses_nothing(cli: Cli) -> None:
    done = cli("fit", "--config", cli.config({"env": {"id": None, "class_path": f"{MAKINGS}.Unclosable"}}))
    assert "finished: timestep 512" in done.out
    assert (
        "WARNING: environment 0 (tests.helpers.makings.Unclosable) raised RuntimeError: the window is gone" in done.err
    )
    assert "while it was closed" in done.err


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("run.yaml",), "run.yaml: a configuration is given as --config run.yaml."),
        (
            ("--config", "run.yaml", "--learning_rate", "1e-3"),
            "--learning_rate: there is no such option. Did you mean --model.learning_rate?",
        ),
        (("--config", "run.yaml", "--n_envs", "8"), "Did you mean --env.n_envs?"),
        (("--config", "run.yaml", "--devices", "2"), "Did you mean --trainer.devices?"),
        (("--config", "run.yaml", "--net_arch", "[8]"), "Did you mean --model.policy_kwargs.net_arch?"),
        (("--config", "run.yaml", "--gamma", "0.9"), "Did you mean --model.gamma?"),
        (("--config", "run.yaml", "--clip_obs", "5"), "Did you mean --env.normalize.clip_obs?"),
        (("--config", "run.yaml", "--seed", "5"), "Did you mean --seed_everything?"),
        (("--config", "run.yaml", "--strict", "true"), "Did you mean --resume.strict?"),
        (("--config", "run.yaml", "--env.n_envs"), "--env.n_envs needs a value."),
        (("--config", "run.yaml", "-n", "3"), "-n: there is no such option; options begin with --."),
        (("--config", "run.yaml", "--env.kwargs", "{a: "), "--env.kwargs: cannot read '{a: '"),
        (("--config",), "--config needs a file."),
    ],
)  # fmt: skip
def test_hints_of_the_command_line(cli: Cli, words: tuple[str, ...], text: str) -> None:
    cli.config()
    assert text in cli.error("fit", *words)


def test_a_run_alone_is_answered_with_its_configuration(cli: Cli) -> None:
    cli("fit", "--config", cli.config(), "--pause_at", 128, expect=75)
    run = cli.run().relative_to(cli.cwd)
    assert f"a run is given as --config {run}/config.yaml --ckpt_path {run}." in cli.error("fit", run)
    for path in (run, run / "checkpoints" / "t0000000128-s001"):
        message = cli.error("test", "--ckpt_path", path)
        assert message == f"model is missing. Give the run's own configuration: --config {run}/config.yaml"
    cli("test", "--config", run / "config.yaml", "--ckpt_path", run, "--episodes", 1)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    message = error_of("fit", "--config", write_config(tmp_path), "--env.id", "HalfCheetah-v3", cwd=tmp_path)
    assert message.startswith("env.id: HalfCheetah-v3 cannot be made any more. It is HalfCheetah-v5 today")
