"""A contender as the measuring process sees it: a process of its own that is asked in turn."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from contenders.works import CONTRIB, Work

BENCHMARKS = Path(__file__).parents[1]
ROOT = BENCHMARKS.parent
SBX = "sbx-rl==0.28.0"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "MUJOCO_GL": "disabled",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


@dataclass(frozen=True)
class Kind:
    """A contender of any work.

    Args:
        family: the module of this package that measures it.
        title: its name in tables.
        backend: that it always takes; `None` for the work's.
        own_venv: whether it is installed apart.
        default: whether it is measured where no contenders are named.
    """

    family: str
    title: str
    backend: str | None = None
    own_venv: bool = False
    default: bool = True

    def can(self, work: Work, accelerator: str) -> bool:
        """Whether it has the algorithm for these environments."""
        if work.algorithm in CONTRIB and self.family in ("sbx", "single_file", "products"):
            return False
        if self.family in ("sbx", "single_file"):
            return work.algorithm != "A2C" and not (self.own_venv and accelerator == "cuda")
        return self.backend != "native" or (work.env == "CartPole-v1" and not work.off_policy)


KINDS: dict[str, Kind] = {
    "lit_rl": Kind("ours", "lit_rl `fit`"),
    "lit_rl_native": Kind("ours", "lit_rl `fit`, native envs", backend="native"),
    "sb3": Kind("sb3", "stable-baselines3"),
    "sbx": Kind("sbx", "SBX", own_venv=True),
    "cleanrl_style": Kind("single_file", "CleanRL-style loop"),
    "bare": Kind("ours_bare", "lit_rl bare loop", default=False),
    "environment": Kind("environment", "environment alone"),
    "products": Kind("products", "matrix products alone"),
}


def own_python(venvs: Path) -> Path:
    """The Python of SBX's environment, made where it is not there: some 800 MB, with the simulators that are here."""
    directory = venvs.resolve() / "sbx"
    python, done = directory / "bin" / "python", directory / "installed"
    same = ("gymnasium[mujoco]", "mujoco", "ale-py", "opencv-python-headless", "stable-baselines3", "torch")
    versions = (importlib.metadata.version(package.split("[")[0]).split("+")[0] for package in same)
    pinned = [f"{package}=={version}" for package, version in zip(same, versions, strict=True)]
    wanted = " ".join([SBX, *pinned])
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {wanted} in {directory}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", SBX, *pinned]
        subprocess.run(install, check=True, env={**os.environ, "PYTHONPATH": ""})
        done.write_text(wanted)
    return python


class Failed(RuntimeError):
    """A contender raised; the text is its traceback."""


class Contender:
    """One contender of one work.

    Args:
        kind: which.
        name: of the work.
        work: what is to be done.
        cores: that it may use.
        accelerator: `cpu` or `cuda`.
        venvs: where environments of packages lie that are installed apart.
    """

    def __init__(self, kind: Kind, name: str, work: Work, cores: list[int], accelerator: str, venvs: Path) -> None:
        self.kind, self.work = kind, work
        python = own_python(venvs) if kind.own_venv else Path(sys.executable)
        paths = [str(BENCHMARKS)] if kind.own_venv else [str(BENCHMARKS), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self._directory = tempfile.TemporaryDirectory()
        self._errors = open(Path(self._directory.name) / "stderr", "w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-m", "contenders.worker", kind.family, name, ",".join(map(str, cores)), accelerator],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=self._directory.name,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )  # fmt: skip
        self.backend, self.units, self.versions = kind.backend or work.backends[0], 2, dict[str, str]()

    def speed(self, units: int | None = None) -> float:
        """Timesteps a second over so many units of work, by default those that `calibrate` has found."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(
                json.dumps({"units": units or self.units, "backend": self.backend}),
                file=self._process.stdin,
                flush=True,
            )
        except BrokenPipeError:
            raise Failed(self._said()) from None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": self._said()}
        if "error" in answer:
            raise Failed(answer["error"])
        self.versions = answer["versions"]
        return float(answer["timesteps"] / answer["seconds"])

    def calibrate(self, seconds: float) -> None:
        """Find out how many units last about so long, at least two, and which backend is the faster."""
        found = []
        for backend in [self.kind.backend] if self.kind.backend else self.work.backends:
            self.backend = backend
            self.units = self._lasting(seconds, self.speed(2))
            found.append((self.speed() if len(self.work.backends) > 1 else 0.0, backend, self.units))
        _, self.backend, self.units = max(found)

    def _lasting(self, seconds: float, speed: float) -> int:
        return max(2, round(seconds * speed / self.work.unit))

    def _said(self) -> str:
        self._process.wait(10)
        self._errors.seek(0)
        return self._errors.read()[-4000:] or f"ended with code {self._process.returncode}"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._directory.cleanup()
