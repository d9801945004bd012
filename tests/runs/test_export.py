"""`export-sb3`: classes of one's own, files that are there, moments by the agent's name; runs opened from Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO as Sb3PPO

from lit_rl import PPO
from lit_rl.errors import ConfigError, DataError, LitRLWarning
from lit_rl.interop.sb3 import read_agent
from lit_rl.interop.warmstart import moments_for
from lit_rl.networks.tensors import ACTOR_CRITIC, owners
from tests.helpers import extractors
from tests.helpers.cli import checkpoints
from tests.runs.conftest import Cli

OWN = {
    "model": {
        "init_args": {
            "policy_kwargs": {
                "features_extractor_class": "tests.helpers.extractors.Linear",
                "features_extractor_kwargs": {"features_dim": 6},
            }
        }
    },
    "env": {"normalize": {"obs": True}},
}
SHORT = {"total_timesteps": 128}


@pytest.fixture
def run(cli: Cli) -> Path:
    cli("fit", "--config", cli.config({**OWN, **SHORT}))
    return cli.run()


def test_a_class_of_ones_own_is_the_run_directorys_to_name(cli: Cli, run: Path) -> None:
    for source, out in ((run, "a.zip"), (checkpoints(run)[-1].path, "b.zip")):
        cli("export-sb3", source, "--out", cli.cwd / out)
    model = Sb3PPO.load(cli.cwd / "b.zip")
    assert type(model.policy.features_extractor) is extractors.Linear
    kwargs = OWN["model"]["init_args"]["policy_kwargs"]
    module = PPO.load_from_checkpoint(run, policy_kwargs={**kwargs, "net_arch": [8]})
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(obs, deterministic=True)[0], module.policy_actions(obs))


def test_a_bare_checkpoint_needs_the_yaml(cli: Cli, run: Path) -> None:
    bare = cli.cwd / "elsewhere" / "bare.ckpt"
    bare.parent.mkdir()
    shutil.copy(checkpoints(run)[-1].lightning_file, bare)
    out = cli.cwd / "agent.zip"
    message = cli.error("export-sb3", bare, "--out", out)
    assert "names the class 'tests.helpers.extractors.Linear'" in message
    assert message.endswith("give the run's own YAML with --config to import it.")
    other = cli.config({"model": {"init_args": {"policy_kwargs": {"net_arch": [3]}}}}, "other.yaml")
    assert "its weights do not fit the networks" in cli.error("export-sb3", bare, "--out", out, "--config", other)
    cli("export-sb3", bare, "--out", out, "--config", run / "config.yaml")


def test_a_checkpoint_that_names_more_than_the_yaml_imports_no_more(cli: Cli, run: Path, marker: Path) -> None:
    """What counts is the YAML: what the file itself names is not looked at."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["init_args"]["policy_kwargs"] = {"net_arch": [8]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "do not fit" in cli.error("export-sb3", run, "--out", cli.cwd / "a.zip")


@pytest.mark.parametrize("there", ["agent.zip", "agent_vecnormalize.pkl"])
def test_nothing_is_written_over(cli: Cli, run: Path, there: str) -> None:
    file, out = cli.cwd / there, cli.cwd / "agent.zip"
    file.write_text("somebody's")
    assert f"{there} is there already" in cli.error("export-sb3", run, "--out", out)
    assert file.read_text() == "somebody's"
    cli("export-sb3", run, "--out", out, "--overwrite")
    assert file.read_bytes() != b"somebody's"
    assert "is a directory" in cli.error("export-sb3", run, "--out", cli.cwd)


def test_two_agents_lie_side_by_side_with_their_own_moments(cli: Cli, run: Path) -> None:
    (cli.cwd / "vecnormalize.pkl").write_text("somebody's")
    for name, source in (("one", checkpoints(run)[0]), ("two", checkpoints(run)[-1])):
        cli("export-sb3", source.path, "--out", cli.cwd / f"{name}.zip")
        _, path = moments_for(read_agent(cli.cwd / f"{name}.zip"))
        assert path == cli.cwd / f"{name}_vecnormalize.pkl"
    warm = ("--mode", "warmstart", "--warmstart.checkpoint", cli.cwd / "two.zip", "--name", "warm")
    done = cli("fit", "--config", cli.config({**OWN, **SHORT}), *warm)
    assert "two_vecnormalize.pkl" in done.out
    done = cli("test", "--config", cli.config(OWN), "--ckpt_path", cli.cwd / "two.zip", "--episodes", 1)
    assert "episodes: 1" in done.out


# -- load_from_checkpoint ----------------------------------------------------------------------------------------------


def test_a_run_directory_means_its_newest_good_checkpoint(cli: Cli) -> None:
    cli("fit", "--config", cli.config({"total_timesteps": 256}))
    newest = checkpoints(cli.run())[-1]
    for path in (cli.run(), str(cli.run() / "checkpoints"), newest.path):
        assert PPO.load_from_checkpoint(path).counters.timesteps == 256
    newest.lightning_file.write_bytes(b"")
    with pytest.warns(LitRLWarning, match="damaged"):
        assert PPO.load_from_checkpoint(cli.run()).counters.timesteps == 128
    shutil.rmtree(cli.run() / "checkpoints")
    (cli.run() / "checkpoints").mkdir()
    with pytest.raises(DataError, match="has no good checkpoint"):
        PPO.load_from_checkpoint(cli.run())


def crafted(cli: Cli, settings: dict[str, Any]) -> Path:
    """A bare checkpoint with these settings in it."""
    cli("fit", "--config", cli.config(SHORT))
    state = torch.load(checkpoints(cli.run())[-1].lightning_file, weights_only=True)
    state["hyper_parameters"].update(settings)
    path = cli.cwd / "crafted.ckpt"
    torch.save(state, path)
    return path


RULE = {"name": "a", "promote": {"class_path": "lit_rl.curriculum.rules.build.build_rule", "init_args": {}}}


@pytest.mark.parametrize(
    "settings",
    [
        {"policy_kwargs": {"activation_fn": "torch.nn.init.ones_"}},
        {"policy_kwargs": {"activation_fn": "torch.nn.utils.clip_grad_norm_"}},
        {"policy_kwargs": {"activation_fn": "torch.nn.Parameter"}},
        {"policy_kwargs": {"features_extractor_class": "torch.hub.load"}},
        {"policy_kwargs": {"features_extractor_class": "stable_baselines3.common.env_util.make_vec_env"}},
        {"policy_kwargs": {"features_extractor_class": "stable_baselines3.common.logger.CSVOutputFormat"}},
        {"policy_kwargs": {"optimizer_class": "torch.optim._functional.adamw"}},
        {"policy_kwargs": {"optimizer_class": "torch.optim.swa_utils.update_bn"}},
        {"policy": "torch.hub.load"},
        {"curriculum": {"levels": [RULE, {"name": "b"}]}},
        {"curriculum": {"levels": [{**RULE, "promote": {"class_path": "os.system"}}, {"name": "b"}]}},
    ],
)
def test_a_crafted_file_calls_nothing(cli: Cli, settings: dict[str, Any]) -> None:
    path = crafted(cli, settings)
    with pytest.raises(ConfigError) as caught:
        PPO.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "env",
    [
        {"id": "tests.helpers.registered:Registered-v0"},
        {"id": None, "class_path": "os.system", "kwargs": {"command": "touch {marker}"}},
        {"wrappers": [{"class_path": "os.system", "init_args": {}}]},
        {"wrappers": [{"class_path": "gymnasium.make", "init_args": {}}]},
    ],
)
def test_an_environment_that_only_a_file_names_is_not_made(cli: Cli, env: dict[str, Any], marker: Path) -> None:
    env = {**env, "kwargs": {key: value.format(marker=marker) for key, value in env.get("kwargs", {}).items()}}
    path = crafted(cli, {"env": {"n_envs": 2, **env}} if "id" in env else {"env": {"id": "CartPole-v1", **env}})
    module = PPO.load_from_checkpoint(path)
    assert module.policy_actions(np.zeros((1, 4), np.float32)).shape == (1,)
    for build in (module.build_envs, module.play.build_for_evaluation):
        with pytest.raises(ConfigError, match=r"the checkpoint names the .*; pass env to load_from_checkpoint"):
            build()
    PPO.load_from_checkpoint(path, env={"id": "CartPole-v1"}).build_envs()


def test_a_registered_environment_with_gymnasiums_wrappers_is_made(cli: Cli) -> None:
    wrapper = {"class_path": "gymnasium.wrappers.FlattenObservation", "init_args": {}}
    path = crafted(cli, {"env": {"id": "CartPole-v1", "wrappers": [wrapper]}})
    PPO.load_from_checkpoint(path).build_envs()


def test_extra_state_belongs_to_the_part_of_its_module() -> None:
    from gymnasium import spaces

    net = torch.nn.ModuleDict({"vf_features_extractor": extractors.Counting(spaces.Box(0, 1, (2,)))})
    found = owners({**net.state_dict(), "action_net.weight": torch.ones(1)}, ACTOR_CRITIC)
    assert {name: each.part for name, each in found.items()} == {
        "vf_features_extractor._extra_state": "value",
        "vf_features_extractor.net.weight": "value",
        "vf_features_extractor.net.bias": "value",
        "action_net.weight": "policy",
    }
