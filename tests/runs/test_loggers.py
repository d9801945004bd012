"""Weights & Biases and MLflow, the real packages, offline: a line of the trainer block each, one run over all stops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lit_rl.state.plain import first_difference
from tests.helpers.cli import CARTPOLE, final_state, lineage, lit_rl, merged, metrics, write_config

pytestmark = pytest.mark.slow

STEPS = [128, 256, 384, 512]


def begun_and_gone_on_with(tmp_path: Path, logger: dict[str, Any]) -> Path:
    """A run with that logger, paused and resumed, equal to one without."""
    config = write_config(tmp_path, {"trainer": {"logger": logger}})
    plain = write_config(tmp_path, {"name": "plain"}, "plain.yaml")
    lit_rl("fit", "--config", config, "--pause_at", "256", cwd=tmp_path, expect=75)
    lit_rl("fit", "--config", config, "--mode", "resume", cwd=tmp_path)
    lit_rl("fit", "--config", plain, cwd=tmp_path)
    runs = [tmp_path / "lightning_logs" / name / "version_0" for name in ("run", "plain")]
    ours, theirs = (final_state(each) for each in runs)
    for part in ("policy", "optimizer", "global_streams"):
        assert first_difference(ours.get(part), theirs.get(part), part) is None
    assert metrics(runs[0]) == metrics(runs[1])
    return runs[0]


def test_mlflow_has_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = f"file:{tmp_path / 'mlruns'}"
    run = begun_and_gone_on_with(
        tmp_path, {"class_path": "MLFlowLogger", "init_args": {"experiment_name": "ours", "tracking_uri": store}}
    )
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("ours")
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "rollout/ep_rew_mean")
    assert [each.step for each in history] == STEPS
    assert [each.value for each in history] == [float(row["rollout/ep_rew_mean"]) for row in metrics(run)]
    assert found.data.params["n_steps"] == str(CARTPOLE["model"]["init_args"]["n_steps"])
    assert found.info.status == "FINISHED"


def test_weights_and_biases_has_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = {"class_path": "WandbLogger", "init_args": {"project": "ours", "offline": True, "save_dir": "."}}
    run = begun_and_gone_on_with(tmp_path, logger)
    own = lineage(run)["run_id"]
    files = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(files) == 2
    assert {each.name.rpartition("-")[2] for each in files} == {own}, "each segment is of the same run"
    assert [step for each in files for step in logged(each)] == STEPS


def logged(directory: Path) -> list[int]:
    """The steps of what an offline run of theirs has logged, in their file of records."""
    (file,) = directory.glob("run-*.wandb")
    found = re.findall(rb"rollout/ep_rew_mean.*?trainer/global_step\W{1,6}?(\d+)", file.read_bytes(), re.DOTALL)
    return list(dict.fromkeys(int(each) for each in found))  # the last one stands in a summary too


def test_an_id_of_the_users_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    init = {"project": "ours", "offline": True, "save_dir": ".", "id": "mine"}
    over = {"total_timesteps": 128, "trainer": {"logger": {"class_path": "WandbLogger", "init_args": init}}}
    lit_rl("fit", "--config", write_config(tmp_path, merged({}, over)), cwd=tmp_path)
    (found,) = (tmp_path / "wandb").glob("offline-run-*")
    assert found.name.endswith("-mine")
