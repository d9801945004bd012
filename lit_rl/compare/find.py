"""From what a user writes (a path, or a bare name) to the run directory it means."""

from __future__ import annotations

from pathlib import Path

from lit_rl.compare.runs import runs_below
from lit_rl.errors import ConfigError, did_you_mean
from lit_rl.run.directory import LINEAGE, versions_of


def named_run(wanted: str, root: Path) -> Path | None:
    """The newest run of a name below `root`; `None` where there is none.

    `name/N` and `name/version_N` mean that one, and a directory that holds versions its newest.
    """
    name, slash, version = wanted.strip("/").rpartition("/")
    if slash:
        runs = versions_of(root, name) + versions_of(Path(name).parent, Path(name).name)
        number = version.removeprefix("version_")
        found = next((run for run in runs if run.name == f"version_{number}"), None)
        if found is not None:
            return found
    path = Path(wanted)
    newest = [*versions_of(root, wanted.strip("/"))[:1], *versions_of(path.parent, path.name)[:1]]
    return newest[0] if newest and path.name else None


def run_directory(wanted: str, root: Path, key: str) -> Path:
    """The run directory that is meant: an exact path wins, be it of a run or of something in it; then a name.

    Args:
        wanted: as the user writes it.
        root: where runs lie.
        key: the command, for errors.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    path = Path(wanted)
    if path.exists():
        inside = next((each for each in (path, *path.absolute().parents[:3]) if (each / LINEAGE).exists()), None)
        if inside is not None:
            return inside
        if path.is_dir() and path.name.startswith("version_"):
            return path
    found = named_run(wanted, root)
    if found is None:
        raise ConfigError(no_such_run(wanted, root, key))
    return found


def runs_named(wanted: str, root: Path, key: str) -> list[Path]:
    """Every run that is meant: a run directory itself, all versions of a name, one of `name/N`, or all below a root.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    path = Path(wanted)
    if (path / LINEAGE).exists():
        return [path]
    beside = versions_of(path.parent, path.name) if path.name else []
    return versions_of(root, wanted) or beside or list(runs_below(path)) or [run_directory(wanted, root, key)]


def no_such_run(wanted: str, root: Path, key: str) -> str:
    """What to say where there is no such run."""
    runs = list(runs_below(root))
    if Path(wanted).exists():
        what = "is a directory without a run in it" if Path(wanted).is_dir() else "is a file outside of any run"
        what = "is a directory of many runs" if any(runs_below(Path(wanted))) else what
        return f"{key}: '{wanted}' {what}; name a run directory, which holds {LINEAGE}, or a run below {root}."
    if not runs:
        return f"{key}: '{wanted}' is not there, and no run lies below {root}; --root says where runs lie."
    names = list(dict.fromkeys(run.parent.name for run in runs))
    near = did_you_mean(wanted, names) or did_you_mean(wanted, [str(run) for run in runs])
    return f"{key}: '{wanted}' is not there, as a path or as a run below {root}.{near or f' There are: {_few(names)}.'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def path_or_run(wanted: str, root: Path) -> str:
    """A path as it is, if it is there and no mere collection of versions; else the newest run of that name, if any."""
    path = Path(wanted)
    if "://" in wanted or path.is_file():
        return wanted
    run = named_run(wanted, root)
    is_another = run is not None and path.exists() and run.parent.resolve() != path.resolve()
    return wanted if run is None or is_another else str(run)
