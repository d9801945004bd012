"""The direction of the house: every room imports only from rooms before it, and there are no cycles."""

from __future__ import annotations

import ast
from pathlib import Path

import lit_rl

ROOT = Path(lit_rl.__file__).parent
ROOMS = (
    "errors", "version", "process", "ops", "ranks", "data", "curriculum", "envs", "untrusted", "state", "checkpoint",
    "networks", "training", "algorithms", "callbacks", "interop", "run", "inference", "compare", "tuning", "cli",
    "__init__", "__main__",
)  # fmt: skip
LEVEL = {room: level for level, room in enumerate(ROOMS)}


def _imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, those for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lit_rl"):
            found |= {node.module} | ({f"{node.module}.{alias.name}" for alias in node.names} & MODULES)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("lit_rl")}
    return found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _name(path: Path) -> str:
    relative = path.relative_to(ROOT.parent).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


FILES = sorted(ROOT.rglob("*.py"))
MODULES = {_name(path) for path in FILES}


def test_imports_go_down() -> None:
    wrong = []
    for path in FILES:
        room = _room(_name(path))
        for module in _imports(path):
            if LEVEL[_room(module)] > LEVEL[room]:
                wrong.append(f"{_name(path)} imports {module}")
    assert not wrong


def test_there_are_no_cycles() -> None:
    graph = {_name(path): _imports(path) & MODULES for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_environment_workers_need_neither_torch_nor_lightning() -> None:
    """What a worker process imports, so that it starts in half a second."""
    light = {
        "lit_rl.envs.slot",
        "lit_rl.envs.parallel.vector",
        "lit_rl.envs.build",
        "lit_rl.envs.monitor",
        "lit_rl.envs.config",
        *(  # found by their files
            _name(path) for folder in ("rules", "strategies") for path in (ROOT / "curriculum" / folder).glob("*.py")
        ),
    }
    seen: set[str] = set()
    waiting = list(light)
    paths = {_name(path): path for path in FILES}
    while waiting:
        module = waiting.pop()
        if module in seen or module not in paths:
            continue
        seen.add(module)
        top = ast.parse(paths[module].read_text()).body
        for node in top:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] not in ("torch", "lightning"), f"{module} imports {name}"
                if name.startswith("lit_rl"):
                    waiting.append(name)


def test_every_file_is_short() -> None:
    assert [_name(path) for path in FILES if len(path.read_text().splitlines()) > 400] == []
