"""Where the time of `fit` goes: environments, products, other arithmetic of torch, torch around it, and the rest.

Every call of torch in one iteration is timed as it is made. What of it is arithmetic is found out afterwards: each
different call is timed by itself, with its own tensors and with tensors of one number, and the difference is
arithmetic. What is left of the call is what torch takes around it: finding the operation, checking, allocating, and
what the caches do not hold any more. Environments are timed alone. The rest of `fit`'s time is Python, NumPy, Lightning
and the log files.

    python benchmarks/time_shares.py --workloads dqn_cartpole a2c_cartpole

Only for networks whose gradients are made by hand: what autograd does is not seen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from contenders import environment, ours, ours_bare
from contenders.works import WORKS, Work
from torch import Tensor
from torch.overrides import TorchFunctionMode

PRODUCTS = ("mm", "addmm", "bmm", "matmul", "linear", "mv", "dot")
SECONDS = 0.002
"""That a call is repeated for, about, in each of three rounds."""


@dataclass
class Call:
    """A call of torch with arguments of certain shapes, how often it was made, and the seconds of all but the first."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    count: int = 0
    spent: float = 0.0

    @property
    def in_place(self) -> float:
        """Seconds that all of them took where they were made."""
        return self.spent * self.count / max(self.count - 1, 1)

    @property
    def is_product(self) -> bool:
        return getattr(self.function, "__name__", "") in PRODUCTS

    def seconds(self, small: bool) -> float:
        """Of one, with tensors of its own shapes or of one number. Raises what torch raises where it cannot."""
        args, kwargs = _copied(self.args, small), _copied(self.kwargs, small)
        once = _timed(lambda: self.function(*args, **kwargs), 1)
        repeats = max(3, min(200, int(SECONDS / max(once, 1e-7))))
        return min(_timed(lambda: self.function(*args, **kwargs), repeats) for _ in range(3))


class Recorder(TorchFunctionMode):
    """Writes down every call of torch, those that are alike together."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Any, Call] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key = (func, _signature(args), _signature(kwargs))
        if key not in self.calls:
            self.calls[key] = Call(func, _copied(args, False), _copied(kwargs, False))
        call = self.calls[key]
        start = time.perf_counter()
        result = func(*args, **kwargs)
        call.spent += time.perf_counter() - start if call.count else 0.0
        call.count += 1
        return result


def _signature(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.stride()
    if isinstance(value, dict):
        return tuple((key, _signature(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_signature(item) for item in value)
    return repr(value) if not isinstance(value, float) else "float"


def _copied(value: Any, small: bool) -> Any:
    """Arguments with tensors of their own; with `small`, of one number, zero where it is a whole one."""
    if isinstance(value, Tensor):
        if small:
            return value.new_zeros([1] * value.dim())
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item, small) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, small) for item in value)
    return value


def _timed(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


@torch.no_grad()
def torch_seconds(work: Work) -> dict[str, float]:
    """Seconds a timestep of products, of other arithmetic, and of torch around both."""
    recorder = Recorder()
    ours_bare.measure(work, 1, "sync", "cpu", around=lambda: recorder)
    found = {"products": 0.0, "other arithmetic": 0.0, "torch around it": 0.0}
    for call in recorder.calls.values():
        try:
            each = max(call.seconds(small=False) - call.seconds(small=True), 0.0)
        except (RuntimeError, IndexError, ValueError, TypeError):
            each = 0.0  # a view, which computes nothing
        arithmetic = min(call.count * each, call.in_place)
        found["products" if call.is_product else "other arithmetic"] += arithmetic
        found["torch around it"] += call.in_place - arithmetic
    return {name: seconds / work.unit for name, seconds in found.items()}


def shares(work: Work, rounds: int, seconds: float) -> tuple[float, dict[str, float]]:
    """Microseconds that a timestep takes, and the shares of it; medians of the rounds."""
    found: list[tuple[float, dict[str, float]]] = []
    for _ in range(rounds):
        timesteps, taken = ours.measure(work, 2, "sync", "cpu")
        units = max(2, round(2 * seconds / taken))
        timesteps, taken = ours.measure(work, units, "sync", "cpu")
        each = taken / timesteps
        alone, took = environment.measure(work, max(2, 4 * units), "sync", "cpu")
        parts = {"environments": took / alone, **torch_seconds(work)}
        parts = {name: part / each for name, part in parts.items()}
        found.append((each * 1e6, parts | {"the rest": 1.0 - sum(parts.values())}))
    medians = {name: statistics.median(parts[name] for _, parts in found) for name in found[0][1]}
    return statistics.median(each for each, _ in found), medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKS, metavar="NAME", help=", ".join(WORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each work, in each round")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")  # of deviations of one number
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # calls are repeated in the same memory
    names = arguments.workloads or [name for name, work in WORKS.items() if not work.atari]
    lines = []
    for name in names:
        each, parts = shares(WORKS[name], arguments.rounds, arguments.seconds)
        lines.append(f"| `{name}` | {each:,.0f} | {' | '.join(f'{part:.0%}' for part in parts.values())} |")
        print(lines[-1], flush=True)
    heads = ["work", "microseconds a timestep", *parts]
    print("\n".join([f"\n| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines]))


if __name__ == "__main__":
    main()
