"""torch.compile over the networks of an update: for large or unusual ones, and for GPUs.

Every shape is compiled by itself (`dynamic=False`), so that what a batch is computed with depends on its shape and on
nothing that came before: a resumed run computes with the same code. More shapes than torch keeps end the run; torch's
own way, which goes on without the compiler, would give other bits in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """A function, compiled when it is called first."""
    import torch._dynamo  # a second of imports

    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(function, dynamic=False)  # type: ignore[return-value]


def lacks_compiler(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device here; `None` where it can."""
    if device.type != "cpu":
        try:
            import triton  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            return "torch.compile needs triton for a GPU, which is not installed"
        return None
    import torch._dynamo

    if not hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):  # else a limit would change the bits quietly
        return f"torch.compile is used from torch 2.7 on, and this is {torch.__version__}"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler such as g++, and none is installed"
    return None
