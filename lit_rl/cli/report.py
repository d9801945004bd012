"""What errors look like, and the code each exits with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lit_rl.errors import EXIT_INTERRUPTED, LitRLError, StorageError, chain, of_the_device, of_the_disk
from lit_rl.process import forget


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command; returns its exit code. What a user can mend is one line on standard error."""
    try:
        code = command()
        sys.stdout.flush()  # here, where it can still be said that it failed
        return code
    except LitRLError as error:
        return _reported(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        first = next((each for each in chain(error) if isinstance(each, StorageError)), None)  # a logger says it again
        of_disk = of_the_disk(error)
        if of_disk is None:
            raise
        return _reported(first or of_disk)
    except RuntimeError as error:
        of_device = of_the_device(error)
        if of_device is None:
            raise
        for note in getattr(error, "__notes__", []):
            of_device.add_note(note)
        return _reported(of_device)
    finally:
        _flush()


def evaluation_lines(module: Any, evaluation: Any) -> list[str]:
    """What `test` prints of an evaluation, level by level where there are several."""
    config = module.eval_config
    lines = [f"episodes: {module.evaluation_episodes}, {'deterministic' if config.deterministic else 'drawn actions'}"]
    if not module.levels or (config.level == "current" and not config.on_all(module.curriculum)):
        described = [] if module.curriculum is None else [f"level: {module.curriculum.describe()}"]
        return lines + described + _metric_lines(evaluation.metrics())
    played = sorted({episode.level for episode in evaluation.episodes})
    for i in played:
        lines += [f"level: {module.levels[i].name}", *_metric_lines(evaluation.on_level(i).metrics())]
    return lines + (["all levels:", *_metric_lines(evaluation.metrics())] if len(played) > 1 else [])


def _metric_lines(m: Mapping[str, float]) -> list[str]:
    lines = []
    for what, key in (("return", "reward"), ("length", "ep_length")):
        spread = f"min {m[f'min_{key}']:.6g}, max {m[f'max_{key}']:.6g}"
        lines.append(f"{what}: mean {m[f'mean_{key}']:.6g}, std {m[f'std_{key}']:.6g}, {spread}")
    return lines + ([f"success rate: {m['success_rate']:.1%}"] if "success_rate" in m else [])


def _reported(error: LitRLError) -> int:
    if not error.reported:
        print("\n".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return error.exit_code


def _flush() -> None:
    """What is still buffered and cannot be written, Python would try again as it ends, and exit with 120."""
    try:
        with contextlib.suppress(ValueError):  # closed by somebody
            sys.stdout.flush()
    except OSError:
        forget(sys.stdout)
