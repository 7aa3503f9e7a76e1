"""The page on the library is true: its programs run, those that need NumPy alone with NumPy alone."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

from glideslope import lr_scheduler
from tests.support.paths import ROOT
from tools.library_reference import written

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LIGHT = [
    program for program in PROGRAMS if not re.search(r"^(from|import) (torch|stable_baselines3)", program, re.MULTILINE)
]
# Refuses every import that the standard library, NumPy and this package do not serve.
ONLY_NUMPY = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "glideslope"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def test_everything_was_found() -> None:
    assert len(PROGRAMS) == PAGE.count("```python") >= 11
    assert len(LIGHT) >= 5


@pytest.mark.parametrize("program", LIGHT, ids=range(len(LIGHT)))
def test_what_needs_numpy_alone_runs_with_numpy_alone(program: str) -> None:
    result = subprocess.run([sys.executable, "-c", ONLY_NUMPY + program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_refusal_of_other_imports_works() -> None:
    result = subprocess.run([sys.executable, "-c", ONLY_NUMPY + "import torch"], capture_output=True, check=False)
    assert result.returncode == 1


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p not in LIGHT])
def test_programs_run(program: str) -> None:
    exec(compile(program, "library.md", "exec"), {})


def test_the_reference_is_that_of_the_docstrings() -> None:
    assert written(PAGE) == PAGE
    for name in lr_scheduler.__all__:
        assert f"### `{name}`\n" in PAGE


def test_every_public_name_has_a_docstring() -> None:
    for name in set(lr_scheduler.__all__) - {"PRESETS", "SHAPES"}:
        assert getattr(lr_scheduler, name).__doc__, name


def test_the_examples_in_docstrings_run() -> None:
    names = [module.name for module in pkgutil.iter_modules(lr_scheduler.__path__, "glideslope.lr_scheduler.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.attempted for result in results) >= 20
    assert not any(result.failed for result in results)


def test_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", prose):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
