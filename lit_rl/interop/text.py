"""The readable text that stable-baselines3 and the RL Zoo leave beside what they serialised.

Strict parsers that build plain values: nothing is evaluated and nothing is imported.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from lit_rl.errors import ConfigError

_CLASS = re.compile(r"<class '([A-Za-z_][\w.]*)'>")
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_LINEAR_TEXT = re.compile(rf"lin_{_NUMBER}")
_CONSTANT = re.compile(rf"ConstantSchedule\(val={_NUMBER}\)")
_LINEAR = re.compile(rf"LinearSchedule\(start={_NUMBER}, end={_NUMBER}, end_fraction={_NUMBER}\)")
_ZOO_LINEAR = re.compile(rf"(?:Simple)?LinearSchedule\(initial_value={_NUMBER}\)")
_FLOAT = re.compile(r"FloatSchedule\((.*)\)")
_SHORT = (
    (re.compile(r"torch\.nn\.modules\.\w+\.(\w+)"), r"torch.nn.\1"),
    (re.compile(r"torch\.optim\.\w+\.(\w+)"), r"torch.optim.\1"),
    (re.compile(r"(?:th|torch)\.nn\.(\w+)"), r"torch.nn.\1"),
    (re.compile(r"nn\.(\w+)"), r"torch.nn.\1"),
    (re.compile(r"(?:th\.optim|optim)\.(\w+)"), r"torch.optim.\1"),
)
CLASS_KEYS = frozenset({"activation_fn", "features_extractor_class", "optimizer_class"})
_KNOWN_CLASS = re.compile(
    r"torch\.nn\.\w+|torch\.optim\.\w+|stable_baselines3\.common\.torch_layers\.\w+"
    r"|stable_baselines3\.common\.sb2_compat\.rmsprop_tf_like\.RMSpropTFLike"
)
_BARE_CLASSES = {
    "RMSpropTFLike": "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike",
    "NatureCNN": "stable_baselines3.common.torch_layers.NatureCNN",
    "FlattenExtractor": "stable_baselines3.common.torch_layers.FlattenExtractor",
    "CombinedExtractor": "stable_baselines3.common.torch_layers.CombinedExtractor",
}


def class_name(text: str) -> str | None:
    """`<class 'torch.nn.modules.activation.ReLU'>` or `nn.ReLU` as `torch.nn.ReLU`; None for other text."""
    match = _CLASS.fullmatch(text.strip())
    name = match.group(1) if match else text.strip()
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        return None
    for pattern, short in _SHORT:
        if pattern.fullmatch(name):
            return pattern.sub(short, name)
    return _BARE_CLASSES.get(name, name)


def is_known_class(name: str) -> bool:
    """Whether a dotted name is a layer, an optimizer or an extractor of PyTorch or stable-baselines3."""
    return _KNOWN_CLASS.fullmatch(name) is not None


Value = float | str | dict[str, Any]
"""A number or a schedule as run.yaml has it: `lin_<start>` goes to 0 over the run, any other says all of itself."""


def schedule(text: str) -> Value | None:
    """A schedule's text as run.yaml has it, or None when it says none that it can have.

    Read are the `repr` of SB3's ConstantSchedule, LinearSchedule and FloatSchedule around them, of the Zoo's
    SimpleLinearSchedule, and the Zoo's own `lin_3e-4` and plain numbers.
    """
    text = text.strip()
    if wrapped := _FLOAT.fullmatch(text):
        text = wrapped.group(1)
    if constant := _CONSTANT.fullmatch(text):
        return float(constant.group(1))
    if linear := _LINEAR.fullmatch(text):
        start, end, fraction = map(float, linear.groups())
        if (end, fraction) == (0.0, 1.0):
            return f"lin_{linear.group(1)}"
        whole = {"start": start, "end": end, "shape": "linear", "fraction": fraction}
        return whole if 0 < fraction <= 1 else None
    if linear := _ZOO_LINEAR.fullmatch(text):
        return f"lin_{linear.group(1)}"
    if _LINEAR_TEXT.fullmatch(text):
        return text
    return float(text) if re.fullmatch(_NUMBER, text) else None


def keywords(text: str, where: str) -> dict[str, Any]:
    """`dict(net_arch=[64, 64], activation_fn=nn.ReLU)` or `{'norm_obs': True}` as a plain dictionary.

    Dotted names become text (`"torch.nn.ReLU"`); anything that is neither a literal, a `dict(...)` of
    keywords nor such a name raises `ConfigError` naming it.
    """
    if len(text) > 1 << 16:
        raise ConfigError(f"{where}: {len(text)} characters are too many for keyword arguments.")
    try:
        value = _literal(ast.parse(text.strip(), mode="eval").body, where)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: {text[:80]!r} is not a dictionary we can read ({error}).") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {text[:80]!r} is not a dictionary.")
    return value


def _literal(node: ast.expr, where: str) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item, where) for item in items]
        case ast.Dict(keys=keys, values=values):
            pairs = [(k.value if isinstance(k, ast.Constant) else None, v) for k, v in zip(keys, values, strict=True)]
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=given):
            pairs = [(k.arg, k.value) for k in given]
        case _:
            raise _refused(node, where)
    result: dict[str, Any] = {}
    for key, item in pairs:
        if not isinstance(key, str) or key in result:
            raise ConfigError(f"{where}: {ast.unparse(node)[:80]!r} has a key twice, or one that is not plain text.")
        named = key in CLASS_KEYS and isinstance(item, ast.Name | ast.Attribute)
        result[key] = class_name(ast.unparse(item)) if named else _literal(item, where)
    return result


def _refused(node: ast.expr, where: str) -> ConfigError:
    return ConfigError(f"{where}: {ast.unparse(node)[:80]!r} is neither a plain value nor dict(...); not evaluated.")


@dataclass(frozen=True)
class SpaceText:
    """What the readable text of a space says; None where it does not.

    `kind` is gymnasium's class name; `shape` without the batch; `n` of Discrete and MultiBinary; `nvec` of
    MultiDiscrete; `keys` of Dict, in order.
    """

    kind: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    n: int | None = None
    nvec: tuple[int, ...] | None = None
    keys: tuple[str, ...] | None = None
    low: str | None = None
    high: str | None = None

    def __str__(self) -> str:
        fields = {"n": self.n, "nvec": self.nvec, "keys": self.keys, "shape": self.shape, "dtype": self.dtype}
        return f"{self.kind}({', '.join(f'{k}={v}' for k, v in fields.items() if v is not None)})"


def space(entry: Any) -> SpaceText | None:
    """The space behind a JSON entry with `:type:` (gym or gymnasium, any version); None where it is not
    one.
    """
    if not isinstance(entry, dict):
        return None
    name = class_name(str(entry.get(":type:", "")))
    if name is None or not re.fullmatch(r"gym(nasium)?\.spaces\.\w+\.\w+", name):
        return None
    shape = entry.get("_shape", entry.get("shape"))
    return SpaceText(
        kind=name.rsplit(".", 1)[1],
        shape=tuple(shape) if isinstance(shape, list) and all(type(n) is int for n in shape) else None,
        dtype=entry["dtype"] if isinstance(entry.get("dtype"), str) else None,
        n=_integer(entry.get("n")),
        nvec=_integers(entry.get("nvec")),
        keys=tuple(re.findall(r"'([^']*)': [A-Z]", entry["spaces"])) if isinstance(entry.get("spaces"), str) else None,
        low=entry["low"] if isinstance(entry.get("low"), str) else None,
        high=entry["high"] if isinstance(entry.get("high"), str) else None,
    )


def _integer(value: Any) -> int | None:
    return int(value) if re.fullmatch(r"\d{1,18}", str(value)) else None


def _integers(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, str) or not re.fullmatch(r"\[[\d\s]+\]", value):
        return None
    return tuple(int(n) for n in value.strip("[]").split())
