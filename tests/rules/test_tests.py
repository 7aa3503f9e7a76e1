"""The tests' own rules: shared code lies in tests/support, and nothing is written into the checkout."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
ROOMS = ("unit", "integration", "docs", "rules")
# Names of places in the checkout that modules share.
PLACES = {"ROOT", "CFGS", "CONFIG_DIR"}
WRITES = {
    *("write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "rename", "replace", "symlink_to"),
    *("hardlink_to", "chmod", "rmtree"),
}
# Functions that write to their last argument.
COPIES = {"copy", "copy2", "copyfile", "copytree", "move"}


def imports_of_tests(tree: ast.AST) -> Iterator[str]:
    """The test modules that are imported, also by a program in a string."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.split()
            names = [after for word, after in pairwise(words) if word in ("from", "import")]
        for name in names:
            if name.split(".")[:1] == ["tests"] and name.split(".")[1:2] and name.split(".")[1] in ROOMS:
                yield name


def places_in_the_checkout(tree: ast.Module) -> set[str]:
    """The names that stand for a file or folder of the checkout."""
    places = set(PLACES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and root_name(node.value) in places:
            places |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return places


def root_name(node: ast.expr | None) -> str | None:
    """`ROOT` of `ROOT / "cfgs"`, of `(ROOT / "a").parent` and of `Path(ROOT)`; None where text was read."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.BinOp(left=left, op=ast.Div()):
            return root_name(left)
        case ast.Attribute(value=value, attr="parent" | "parents"):
            return root_name(value)
        case ast.Call(func=ast.Name(id="Path" | "str"), args=[first]):
            return root_name(first)
        case ast.Call(func=ast.Attribute(value=value, attr="with_name" | "with_suffix" | "joinpath")):
            return root_name(value)
    return None


def writes_into_the_checkout(tree: ast.Module) -> Iterator[str]:
    places = places_in_the_checkout(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        target: ast.expr | None = None
        match node.func:
            case ast.Attribute(attr=name, value=value) if name in WRITES:
                target = node.args[0] if name == "rmtree" and node.args else value
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in COPIES and len(node.args) > 1:
                target = node.args[1]
            case ast.Name(id="open") | ast.Attribute(attr="open") if opens_for_writing(node):
                target = node.args[0] if isinstance(node.func, ast.Name) else node.func.value
        if root_name(target) in places:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def opens_for_writing(node: ast.Call) -> bool:
    modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    modes += [word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)]
    return any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) < 4 for mode in modes)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from tests.unit.agent.test_agent import make_agent", True),
        ("import tests.docs.test_readme", True),
        ("from tests import unit", True),
        ("program = 'from tests.unit.envs.test_gym import x; print(x)'", True),
        ("from tests.support.agents import make_agent", False),
    ],
)
def test_imports_are_found(source: str, found: bool) -> None:
    assert bool(list(imports_of_tests(ast.parse(source)))) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("(ROOT / 'cfgs' / 'x.yaml').write_text('')", True),
        ("PAGE = CONFIG_DIR.parent / 'page'\nPAGE.write_bytes(b'')", True),
        ("def f():\n    here = ROOT / 'a'\n    here.with_suffix('.b').mkdir()", True),
        ("open(CFGS / 'x', 'w')", True),
        ("(ROOT / 'x').open(mode='ab')", True),
        ("shutil.copytree(tmp_path, ROOT / 'x')", True),
        ("shutil.rmtree(ROOT / 'x')", True),
        ("shutil.copytree(CONFIG_DIR, tmp_path / 'x')", False),
        ("open(CFGS / 'x')", False),
        ("(ROOT / 'x').read_text().replace('a', 'b')", False),
        ("(tmp_path / 'x').write_text((ROOT / 'y').read_text())", False),
    ],
)
def test_writes_are_found(source: str, found: bool) -> None:
    assert bool(list(writes_into_the_checkout(ast.parse(source)))) == found


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(TESTS)) for file in FILES])
def test_a_test_keeps_to_itself(file: Path) -> None:
    """It imports no other test and writes nothing into the checkout."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if file != Path(__file__):
        assert list(imports_of_tests(tree)) == []
    assert list(writes_into_the_checkout(tree)) == []
