"""Settings in environment variables: PL_FIT__..., before every file and option."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.test_start import imported
from tests.helpers.cli import write_config
from tests.runs.conftest import Cli


def recorded(cli: Cli) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = yaml.safe_load((cli.run() / "config.yaml").read_text())
    return found


def test_they_hold_and_are_recorded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TOTAL_TIMESTEPS": "64",
        "MODEL__INIT_ARGS__GAMMA": "0.5",
        "MODEL__ENT_COEF": "0.25",
        "ENV__MAX_EPISODE_STEPS": "20",
        "ENV__KWARGS": "{sutton_barto_reward: true}",
        "TRAINER__ENABLE_PROGRESS_BAR": "false",
    }.items():
        monkeypatch.setenv(f"PL_FIT__{name}", value)
    config = cli.config({"total_timesteps": 128})
    tree = yaml.safe_load(config.read_text())
    del tree["total_timesteps"]
    config.write_text(yaml.safe_dump(tree))
    assert "timestep: 0 of 64" in cli("fit", "--config", config).out
    kept = recorded(cli)
    assert kept["total_timesteps"] == 64
    own = kept["model"]["init_args"]
    assert isinstance(own, dict)
    assert (own["gamma"], own["ent_coef"]) == (0.5, 0.25)
    assert kept["env"]["max_episode_steps"] == 20
    assert kept["env"]["kwargs"] == {"sutton_barto_reward": True}
    assert kept["trainer"]["enable_progress_bar"] is False


def test_a_file_goes_before_them_and_an_option_before_a_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_FIT__TOTAL_TIMESTEPS", "999")
    monkeypatch.setenv("PL_FIT__ENV__KWARGS", "{a: 1, b: 1}")
    monkeypatch.setenv("PL_FIT__NAME", "of_the_variable")
    config = cli.config({"total_timesteps": 128, "env": {"kwargs": {"b": 2}}})
    with pytest.raises(SystemExit):
        cli("fit", "--config", config, "--name", "of_the_option", "--print_config")
    printed = yaml.safe_load(cli.capture.readouterr().out)
    assert (printed["total_timesteps"], printed["name"]) == (128, "of_the_option")
    assert printed["env"]["kwargs"] == {"a": 1, "b": 2}, "free dictionaries merge, as everywhere"


def test_a_file_by_a_variable_and_single_keys_over_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_FIT__CONFIG", str(cli.config({"total_timesteps": 64})))
    monkeypatch.setenv("PL_FIT__ENV__N_ENVS", "2")
    cli("fit")
    assert (recorded(cli)["env"]["n_envs"], recorded(cli)["total_timesteps"]) == (2, 64)


def test_a_resume_with_the_runs_own_configuration_is_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_FIT__MODEL__GAMMA", "0.5")
    monkeypatch.setenv("PL_FIT__MODE", "fresh")
    tree = yaml.safe_load(cli.config().read_text())
    cli("fit", "--config", "run.yaml", "--pause_at", 128, expect=75)
    monkeypatch.setenv("PL_FIT__MODEL__GAMMA", "0.9")
    cli("fit", "--config", cli.run() / "config.yaml", "--mode", "resume", "--pause_at", "null")
    assert recorded(cli)["model"]["init_args"]["gamma"] == 0.5  # type: ignore[index]
    assert (
        "model.gamma"
        in cli("fit", "--config", "run.yaml", "--mode", "resume", "--resume.additional_timesteps", 128, expect=2).err
    ), "a changed variable is a changed setting"
    assert "gamma" not in tree["model"]["init_args"]


def test_each_command_has_its_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TEST__EPISODES", "3")
    monkeypatch.setenv("PL_FIT__EPISODES", "3")
    assert "PL_FIT__EPISODES" in cli.error("fit", "--config", cli.config())
    monkeypatch.delenv("PL_FIT__EPISODES")
    cli("fit", "--config", "run.yaml")
    assert "episodes: 3" in cli("test", "--config", "run.yaml").out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("MODEL__N_STEP", "3", "there is no such setting. Did you mean 'PL_FIT__MODEL__N_STEPS'?"),
        ("MODEL__INIT_ARGS__N_STEP", "3", "Did you mean 'PL_FIT__MODEL__INIT_ARGS__N_STEPS'?"),
        ("MODEL", "NOPE", "model.class_path: there is no algorithm 'NOPE'; there are A2C, ARS"),
        ("MODEL", "PPOO", "Did you mean 'PPO'?"),
        ("MODEL__CLASS_PATH", "PPOO", "Did you mean 'PPO'?"),
        ("ENV", "{n_env: 3}", "unknown key 'env.n_env'. Did you mean 'n_envs'?"),
        ("ENV__N_ENV", "3", "Did you mean 'PL_FIT__ENV__N_ENVS'?"),
        ("NMAE", "x", "there is no such setting. Did you mean 'PL_FIT__NAME'?"),
        ("MODEL__N_STEPS", "many", "model.n_steps: expected a whole number, got 'many'"),
        ("ENV__N_ENVS", "0", "env.n_envs is 0; it must be at least 1."),
        ("GAMMA", "0.9", "Did you mean PL_FIT__MODEL__GAMMA?"),
        ("CONFIG", "no.yaml", "'no.yaml' is not there."),
        ("ENV__KWARGS", "{a: ", "cannot read"),
        ("ENV____ID", "x", "there is no such setting"),
        ("TRAINER__MAX_EPOCHS", "3", "trainer.max_epochs is not used here"),
    ],
)
def test_mistakes_name_the_variable_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    monkeypatch.setenv(f"PL_FIT__{name}", value)
    heavy, said, code = imported("fit", "--config", write_config(tmp_path), cwd=tmp_path)
    assert said.startswith(f"error: PL_FIT__{name}: ")
    assert text in said
    assert said.count("\n") == 1
    assert "there is no such option" not in said, "no option was given"
    assert (heavy, code) == ([], 2)


def test_two_variables_in_one_nested_setting_both_count(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_FIT__MODEL__POLICY_KWARGS__ORTHO_INIT", "false")
    monkeypatch.setenv("PL_FIT__MODEL__POLICY_KWARGS__LOG_STD_INIT", "-1.0")
    cli("fit", "--config", cli.config(), "--pause_at", 1, expect=75)
    kwargs = recorded(cli)["model"]["init_args"]["policy_kwargs"]  # type: ignore[index]
    assert (kwargs["ortho_init"], kwargs["log_std_init"]) == (False, -1.0)
