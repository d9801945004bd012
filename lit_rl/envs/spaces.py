"""Any supported space as the plain one that torch and stable-baselines3's networks take, and values between the two.

| space | is seen as |
|---|---|
| Discrete and MultiDiscrete that start elsewhere, MultiDiscrete of several axes | one axis that starts at 0 |
| a Box of shape `()` | shape `(1,)` |
| a Box of a type that torch has not (longdouble, another byte order) | the nearest that it has |
| a Dict key that cannot name a module (`plain_key`) | its other name |
| a Dict in a Dict | one Dict, keys joined with `/` |
| a Box of whole numbers as actions | a Box of float32, rounded |
| MultiBinary of several axes as actions | one axis |

What is none of these is left as it is, the same object.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from typing import Any

import numpy as np
from gymnasium import spaces

from lit_rl.errors import ConfigError

SEPARATOR = "/"
"""Between the keys of a Dict in a Dict."""
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_EMPTY = "%00"
TAKEN = frozenset(
    [
        "T_destination",
        "_apply",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_buffers",
        "_call_impl",
        "_compiled_call_impl",
        "_forward_hooks",
        "_forward_hooks_always_called",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_get_backward_hooks",
        "_get_backward_pre_hooks",
        "_get_name",
        "_is_full_backward_hook",
        "_load_from_state_dict",
        "_load_state_dict_post_hooks",
        "_load_state_dict_pre_hooks",
        "_maybe_warn_non_full_backward_hook",
        "_modules",
        "_named_members",
        "_non_persistent_buffers_set",
        "_parameters",
        "_register_load_state_dict_pre_hook",
        "_register_state_dict_hook",
        "_replicate_for_data_parallel",
        "_save_to_state_dict",
        "_slow_forward",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_version",
        "_wrapped_call_impl",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "clear",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "items",
        "keys",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "pop",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "update",
        "values",
        "xpu",
        "zero_grad",
        "__annotations__",
        "__call__",
        "__class__",
        "__contains__",
        "__delattr__",
        "__delitem__",
        "__dict__",
        "__dir__",
        "__doc__",
        "__eq__",
        "__format__",
        "__ge__",
        "__getattr__",
        "__getattribute__",
        "__getitem__",
        "__getstate__",
        "__gt__",
        "__hash__",
        "__init__",
        "__init_subclass__",
        "__iter__",
        "__le__",
        "__len__",
        "__lt__",
        "__module__",
        "__ne__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__repr__",
        "__setattr__",
        "__setitem__",
        "__setstate__",
        "__sizeof__",
        "__str__",
        "__subclasshook__",
        "__weakref__",
    ]
)
"""Names that a ModuleDict of torch has for itself; workers do without torch, so they stand here, held by a test."""


@functools.lru_cache(maxsize=None, typed=True)
def plain_key(key: Any) -> str:
    """A Dict's key as torch's ModuleDict takes it. Text that it takes stays; no two keys come to the same.

    In others a dot becomes `%2E`, a name that a ModuleDict has for itself begins with its first letter's number
    (`%6Beys`), and what is not text is its text in numbers, as in an address of the web.
    """
    if not isinstance(key, str):
        return "".join(_escaped(letter) for letter in str(key)) or _EMPTY
    if key == "":
        return _EMPTY
    if key in TAKEN:
        return _escaped(key[0]) + key[1:]
    if "." in key or _ESCAPE.search(key):
        return key.replace("%", "%25").replace(".", "%2E")
    return key


def own_key(name: str) -> str:
    """The key that a plain one stands for, as text."""
    return "" if name == _EMPTY else urllib.parse.unquote(name)


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def plain_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """An observation space as networks take it.

    Raises:
        ConfigError: two parts of a Dict in a Dict come to the same name.
    """
    if isinstance(space, spaces.Dict):
        return _plain_dict(space)
    if isinstance(space, spaces.Box):
        dtype = _plain_dtype(space)
        if space.shape and dtype == space.dtype:
            return space
        shape = space.shape or (1,)
        low, high = (bound.reshape(shape).astype(dtype) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=dtype.type)
    return _from_zero(space)


def _plain_dtype(space: spaces.Box) -> np.dtype[Any]:
    dtype = np.dtype(space.dtype).newbyteorder("=")
    return np.dtype(np.float64) if dtype.kind == "f" and dtype.itemsize > 8 else dtype


def _from_zero(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Counts along one axis, from 0."""
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and (
        space.nvec.ndim != 1 or space.start.any() or not np.dtype(space.dtype).isnative
    ):
        return spaces.MultiDiscrete(space.nvec.ravel())
    return space


def _plain_dict(space: spaces.Dict) -> spaces.Dict:
    parts: list[tuple[str, spaces.Space[Any]]] = []
    own: dict[str, Any] = {}
    for key, part in space.spaces.items():
        plain = plain_space(part)
        if isinstance(plain, spaces.Dict):
            found = [(plain_key(f"{key}{SEPARATOR}{own_key(name)}"), inner) for name, inner in plain.spaces.items()]
        else:
            found = [(plain_key(key), plain)]
        for name, inner in found:
            if name in own:
                raise ConfigError(
                    f"observation space: the parts {own[name]!r} and {key!r} both come to the name '{own_key(name)}' "
                    "in one flat Dict; rename one of them in a wrapper."
                )
            own[name] = key
            parts.append((name, inner))
    same = len(parts) == len(space.spaces) and all(
        name == key and inner is space.spaces[key] for (name, inner), key in zip(parts, space.spaces, strict=True)
    )
    return space if same else spaces.Dict(parts)


def plain_obs(obs: Any, space: spaces.Space[Any]) -> Any:
    """An observation of `space` as one of its `plain_space`."""
    if isinstance(space, spaces.Dict):
        flat: dict[str, Any] = {}
        for key, part in space.spaces.items():
            value = plain_obs(obs[key], part)
            if isinstance(part, spaces.Dict):
                flat.update({plain_key(f"{key}{SEPARATOR}{own_key(name)}"): inner for name, inner in value.items()})
            else:
                flat[plain_key(key)] = value
        return flat
    if isinstance(space, spaces.Box):
        return np.asarray(obs).astype(_plain_dtype(space)).reshape(space.shape or (1,))
    if isinstance(space, spaces.Discrete):
        return np.int64(int(obs) - int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return (np.asarray(obs, dtype=np.int64) - space.start).ravel()
    return obs


def plain_action_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """An action space as networks take it."""
    if isinstance(space, spaces.Box):
        whole = np.dtype(space.dtype).kind in "biu"
        if space.shape and not whole:
            return space
        shape, dtype = space.shape or (1,), np.dtype(np.float32) if whole else np.dtype(space.dtype)
        low, high = (bound.reshape(shape).astype(dtype) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=dtype.type)
    if isinstance(space, spaces.MultiBinary) and not isinstance(space.n, int):
        return spaces.MultiBinary(int(np.prod(space.shape)))
    return _from_zero(space)


def own_action(action: Any, space: spaces.Space[Any]) -> Any:
    """An action of `plain_action_space` as one of `space`."""
    if isinstance(space, spaces.Discrete):
        return np.dtype(space.dtype).type(int(action) + int(space.start))
    shaped = np.asarray(action).reshape(space.shape or ())
    if isinstance(space, spaces.MultiDiscrete):
        return np.asarray(shaped + space.start, dtype=space.dtype)
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind in "biu":
        return _rounded(shaped.astype(np.float64), space)
    return shaped.astype(space.dtype)


def _rounded(action: np.ndarray, space: spaces.Box) -> np.ndarray:
    """To the nearest whole number. The bounds are the space's own: they may be larger than a float can tell."""
    near, whole = np.rint(action), space.low.copy()
    between = (near > space.low.astype(np.float64)) & (near < space.high.astype(np.float64))
    whole[between] = near[between].astype(space.dtype)
    above = near >= space.high.astype(np.float64)
    whole[above] = space.high[above]
    return whole
