"""What may be imported where: which way imports run, what stays light, what is declared; and what loads data alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = "glideslope"

# From the ground up: a room may import from those in lower rows and from itself, not from its own row.
LAYERS = (
    ("lr_scheduler",),
    ("errors",),
    ("settings", "storage"),
    ("envs", "agent", "curriculum", "replay"),
    ("runs", "display"),
    ("build",),
    ("evaluation",),
    ("training",),
    ("cli",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
READS_HYDRA = {"cli"}
ALONE = {"lr_scheduler"}  # usable in any program: imports nothing of ours
# Needs nothing but Python: says what is missing where only the core is installed.
STARTS = {"glideslope", "glideslope.cli", "glideslope.cli.entry"}
# What the package itself gives when it is asked for.
GIVES = {"glideslope": {"glideslope.evaluation.policy"}}
# Its doors to other libraries' classes, which load those libraries; nothing else of it imports them.
ADAPTS = {
    "glideslope.lr_scheduler.torch_scheduler": {"torch"},
    "glideslope.lr_scheduler.stable_baselines3": {"torch", "stable_baselines3"},
}
# Subclasses of Ray's classes: loaded by a search alone.
ON_RAY = {f"glideslope.training.search.{name}" for name in ("population", "scheduler", "trial")}


def sources() -> dict[str, Path]:
    """Dotted name → file, of every module in the package."""
    files = {}
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = list(file.relative_to(ROOT).with_suffix("").parts)
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a tree imports, `from a import b` as `a.b`; relative imports begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: everything but functions and blocks for type checkers."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        pending.extend(ast.iter_child_nodes(node))


def our_modules(tree: ast.AST, modules: set[str]) -> set[str]:
    """Modules of the package that a tree imports."""
    found = set()
    for name in imported(tree):
        if name.split(".")[0] == PACKAGE:
            found.add(name if name in modules else name.rpartition(".")[0])
    return found


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def outside(tree: ast.AST) -> set[str]:
    """Top-level names of other packages that a tree imports."""
    return {name.split(".")[0] for name in imported(tree)} - {PACKAGE, ""}


# --- directions ---


def test_every_part_has_its_place() -> None:
    parts = {part_of(module) for module in sources()} - {""}
    assert parts <= set(LEVEL), f"place {sorted(parts - set(LEVEL))} in LAYERS"


def test_imports_run_one_way() -> None:
    files = sources()
    upward = []
    for module, file in files.items():
        for target in our_modules(parse(file), set(files)) - GIVES.get(module, set()):
            here, there = part_of(module), part_of(target)
            if there and here != there and LEVEL[there] >= LEVEL.get(here, -1):
                upward.append(f"{module} imports {target}")
    assert not upward


def test_no_modules_import_each_other() -> None:
    files = sources()
    graph = {}
    for module, file in files.items():
        tree = parse(file)
        graph[module] = set().union(*(our_modules(node, set(files)) for node in at_import_time(tree))) - {module}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
    assert set(files) <= set(order)


def test_envs_and_agent_know_nothing_of_each_other() -> None:
    files = sources()
    for module, file in files.items():
        tree = parse(file)
        parts = {part_of(target) for target in our_modules(tree, set(files))}
        if part_of(module) == "envs":
            assert "agent" not in parts, module
            assert not outside(tree) & {"torch"}, module
        if part_of(module) == "agent":
            assert "envs" not in parts, module
            assert not outside(tree) & {"mujoco", "mujoco_warp", "warp", "gymnasium"}, module


def test_the_scheduler_stands_alone_and_loads_torch_only_where_an_optimizer_is_touched() -> None:
    checked = 0
    for module, file in sources().items():
        if part_of(module) not in ALONE:
            continue
        checked += 1
        tree = parse(file)
        assert {part_of(target) for target in our_modules(tree, set(sources()))} <= {part_of(module)}, module
        allowed = sys.stdlib_module_names | {"torch", "numpy", "matplotlib"} | ADAPTS.get(module, set())
        assert outside(tree) <= allowed, module
        if module not in ADAPTS:
            loaded = {name for node in at_import_time(tree) for name in outside(node)}
            assert not loaded & {"torch", "matplotlib"}, module
            assert not our_modules(tree, set(sources())) & set(ADAPTS), module
    assert checked > 5


def test_only_the_command_line_knows_hydra() -> None:
    for module, file in sources().items():
        if part_of(module) not in READS_HYDRA:
            assert not outside(parse(file)) & {"hydra", "omegaconf"}, module


def test_the_package_imports_no_scripts_and_nothing_relatively() -> None:
    scripts = {file.stem for file in ROOT.glob("*.py")} | {"benchmarks", "tests"}
    for module, file in sources().items():
        tree = parse(file)
        assert not outside(tree) & scripts, module
        assert not any(name.startswith(".") for name in imported(tree)), module


LIGHT = f"""
import sys
import {PACKAGE}.lr_scheduler, {PACKAGE}.settings, {PACKAGE}.envs
heavy = {{"torch", "mujoco", "mujoco_warp", "warp", "hydra", "matplotlib"}} & set(sys.modules)
if heavy:
    sys.exit(f"loaded {{sorted(heavy)}}")
import {PACKAGE}.training.launch
sys.exit("a training loads the renderer before it draws" if "mujoco_warp" in sys.modules else 0)
"""


def test_schedules_settings_and_registration_load_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- what is used is declared ---


def test_every_package_used_is_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core, extras = project["dependencies"], project["optional-dependencies"]
    assert list(map(package, core)) == ["numpy"]
    distributions = packages_distributions()
    found = set()
    for module, file in sources().items():
        tree = parse(file)
        # What an extra brings is imported where it is used, so that the rest works without it.
        early = {name for node in at_import_time(tree) for name in outside(node)}
        if module in ADAPTS:
            at_first, later = extras["train"], extras["sb3"]
        elif module in ON_RAY:
            at_first, later = core + extras["train"] + extras["sweep"], []
        elif part_of(module) in ALONE or module in STARTS:
            at_first, later = core, extras["train"]
        else:
            at_first = core + extras["train"]
            later = [line for extra in ("track", "sweep", "onnx", "play") for line in extras[extra]]
        ours = {name for node in at_import_time(tree) for name in our_modules(node, set(sources()))}
        assert module in ON_RAY or not ours & ON_RAY, f"{module} loads Ray before it is needed"
        for name in outside(tree) - sys.stdlib_module_names - {"__future__", "pydantic_core"}:  # pinned by pydantic
            declared = at_first + ([] if name in early else later)
            names = {distribution.lower() for distribution in distributions.get(name, [name])}
            assert names & set(map(package, declared)), f"{module}: {name} ({names}) is not in pyproject.toml"
            found.add(name)
    assert {"torch", "numpy", "mujoco", "mlflow"} <= found


def package(requirement: str) -> str:
    """The package that a requirement of pyproject.toml is about."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()


# --- reading files can't run code: what ruff has no rule for ---


def test_tensors_and_arrays_are_loaded_as_data() -> None:
    loads = 0
    for module, file in sources().items():
        tree = parse(file)
        assert not set(imported(tree)) & {"torch.load", "torch.serialization.load", "numpy.load"}, module
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given.get("allow_pickle", "False") == "False", f"{module}, line {call.lineno}"
            if ast.unparse(call.func) == "torch.load":
                assert given.get("weights_only") == "True", f"{module}, line {call.lineno}"
                loads += 1
    assert loads  # the rule has something to hold for


# --- the rules themselves ---


def test_imports_are_seen_wherever_they_hide() -> None:
    source = """
import a.b, c as d
from e.f import g, h
from . import i
from .j import k
if TYPE_CHECKING:
    import l
else:
    import m
def function():
    import n
class Thing:
    import o
    def method(self):
        from p import q
try:
    import r
except ImportError:
    import s
"""
    tree = ast.parse(source)
    assert set(imported(tree)) == {*("a.b", "c", "e.f.g", "e.f.h", "..i", ".j.k", "l", "m", "n", "o", "p.q", "r", "s")}
    early = {name for node in at_import_time(tree) for name in imported(node)}
    assert early == {"a.b", "c", "e.f.g", "e.f.h", "..i", ".j.k", "m", "o", "r", "s"}


def test_our_modules_are_told_from_their_contents() -> None:
    tree = ast.parse(
        "from glideslope import __version__\nfrom glideslope.runs import snapshots\n"
        "from glideslope.storage.atomic_files import replacing\nimport torch"
    )
    modules = {"glideslope", "glideslope.runs.snapshots", "glideslope.storage.atomic_files"}
    assert our_modules(tree, modules) == modules
