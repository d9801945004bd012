"""What people do to a run, for the soak: forks, ways back, new targets, copies, each killed at random. See soak.py."""

from __future__ import annotations

import shutil
import signal
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lit_rl.checkpoint.store import CheckpointStore
from lit_rl.run.lineage import Lineage
from lit_rl.state.plain import digest

if TYPE_CHECKING:
    from soak_round import Attempt, Round

KINDS = ("fork", "going back", "target", "copy")


class Lost(Exception):
    """Something that should have survived did not."""


def content(directory: Path) -> str:
    """A digest of all that lies in a directory, but its lock."""
    files = sorted(path for path in directory.rglob("*") if path.name != ".lock" and not path.is_dir())
    links = {str(path.relative_to(directory)): str(path.readlink()) for path in files if path.is_symlink()}
    return digest([links, {str(path.relative_to(directory)): path.read_bytes() for path in files if path not in links}])


def fork(this: Round) -> tuple[Attempt, bool, int]:
    """A new run from one of the checkpoints; the run that it comes from stays as it is."""
    parent, chosen = this.directory, this.chance.choice(this.store.inventory().checkpoints)
    assert parent is not None
    at, newest, before = chosen.manifest.timesteps, this.newest(), content(parent)
    words = ["--mode=resume", "--resume.fork=true", f"--resume.checkpoint={chosen.path}"]
    if at == this.first_target:
        words += this.next_target()
    attempt = _killed(this, words)
    if content(parent) != before:
        raise Lost(f"the fork has changed {parent}: {attempt.text[-500:]}")
    forked = this.directory != parent
    if forked:
        this.parents[parent] = before
    return attempt, forked, at if forked else newest


def going_back(this: Round) -> tuple[Attempt, bool, int]:
    """The run goes on from an older checkpoint; until it has saved, nothing of the later ones is gone."""
    run, newest = this.directory, this.newest()
    assert run is not None
    older = [each for each in this.store.inventory().checkpoints if each.manifest.timesteps < newest]
    chosen = this.chance.choice(older)
    at, segment = chosen.manifest.timesteps, Lineage.read(run).next_segment
    words = [f"--ckpt_path={chosen.path}", *(this.next_target() if at == this.first_target else [])]
    attempt = _killed(this, words)
    places = CheckpointStore(run / "checkpoints").places()
    saved = any(path.name.endswith(f"-s{segment:03d}") for path in places)
    return attempt, saved, at if saved else newest


def target(this: Round) -> tuple[Attempt, bool, int]:
    """A target given where the run had ended, and a kill before or in the first save after it: it holds for good."""
    if this.chance.random() < 0.5:
        attempt = _killed(this, this.words())
    else:
        attempt, _ = this.traced("signal=KILL", this.chance.choice(["mkdir", "openat", "fsync"]), "1", soon=True)
    held = this.has_new_target and this.newest() == this.first_target
    return attempt, held, this.first_target


def copy(this: Round) -> tuple[Attempt, bool, int]:
    """The runs go on elsewhere, brought there by a tool that follows links, leaves them out, or keeps files alone."""
    newest, old = this.newest(), this.place
    this.place = this.root / f"place-{len(this.log):03d}"
    how = this.chance.choice(["followed", "left out", "zip"])
    if how == "followed":
        shutil.copytree(old / "soak", this.place / "soak", symlinks=False, ignore_dangling_symlinks=True)
    elif how == "left out":
        shutil.copytree(old / "soak", this.place / "soak", ignore=_links)
    else:
        packed = this.root / "packed.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((old / "soak").rglob("*")):
                if path.is_file() and not path.is_symlink():
                    archive.write(path, path.relative_to(old))
        zipfile.ZipFile(packed).extractall(this.place)
        packed.unlink()
    shutil.rmtree(old / "soak")
    this.parents = {
        this.place / parent.relative_to(old): content(this.place / parent.relative_to(old)) for parent in this.parents
    }
    return _killed(this, None), True, newest


def _links(directory: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(directory) / name).is_symlink()]


def _killed(this: Round, words: list[str] | None) -> Attempt:
    """An attempt that is killed at a random moment, mostly; some come to their end."""
    if this.chance.random() < 0.2:
        return this.run(words)
    return this.signalled(signal.SIGKILL, words)
