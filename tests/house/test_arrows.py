"""The specification imports nothing but the standard library, so that the oracle is independent of what it judges.

import-linter keeps the arrows between our own packages (`make lint`); what comes from outside is checked here.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tools.examples import ROOT

SPEC = ROOT / "spec" / "pawl_spec"
ALLOWED = sys.stdlib_module_names | {"pawl_spec"}

LOADERS = {"__import__", "import_module", "find_spec", "exec", "eval", "run_module", "run_path"}
"""Ways to import without an import statement."""


def foreign_imports(folder: Path, allowed: frozenset[str] | set[str]) -> list[str]:
    """Every import in `folder`, at any depth of the code, of something that is not allowed."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                # A relative import stays inside the package.
                names = [node.module or ""] if node.level == 0 else []
            elif isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                found += [f"{path.name}:{node.lineno}: {called}()"] if called in LOADERS else []
                continue
            else:
                continue
            found += [f"{path.name}:{node.lineno}: {name}" for name in names if name.partition(".")[0] not in allowed]
    return found


def test_specification_imports_only_the_standard_library() -> None:
    """Architecture: "`pawl_spec` imports only the standard library"."""
    assert len(list(SPEC.rglob("*.py"))) > 3
    assert foreign_imports(SPEC, ALLOWED) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pawl",
        "import hypothesis.strategies as st",
        "from pawl.errors import ProtocolError",
        "def f():\n    from cryptography import x509",
        "import os, nacl",
        "if False:\n    import pawl_gate",
        "import importlib\nimportlib.import_module('pawl')",
        "__import__('pawl')",
    ],
)
def test_a_planted_import_is_caught(planted: str, tmp_path: Path) -> None:
    """Control: any of these would make the oracle depend on what it judges."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "planted.py").write_text(f"import os\nfrom pawl_spec.trace import Trace\n{planted}\n")
    assert len(foreign_imports(tmp_path, ALLOWED)) == 1


GATES = {"google": ("pawl/wire",), "cryptography": ("pawl/crypto",), "nacl": ("pawl/crypto",)}
"""Packages that one room alone may import. import-linter does not see a package that lies in another's namespace."""


def imports_of(package: str, sources: Path) -> set[str]:
    """The folders below `sources` in which a file imports `package`, generated code aside."""
    return {
        str(path.parent.relative_to(sources))
        for path in sources.rglob("*.py")
        if not path.stem.endswith("_pb2")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(name.partition(".")[0] == package for name in names_of(node))
    }


def names_of(node: ast.AST) -> list[str]:
    """The modules that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []


@pytest.mark.parametrize(("package", "rooms"), GATES.items(), ids=GATES)
def test_one_room_alone_touches_a_package(package: str, rooms: tuple[str, ...]) -> None:
    """Architecture: `crypto/` is "the only room that touches cryptographic packages"; so is `wire/` for protobuf."""
    assert imports_of(package, ROOT / "src") == set(rooms)


def test_a_planted_import_of_a_package_is_seen(tmp_path: Path) -> None:
    """Control: an import anywhere else, at any depth of the code."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "planted.py").write_text("def f():\n    from google.protobuf import message\n")
    assert imports_of("google", tmp_path) == {"room"}
