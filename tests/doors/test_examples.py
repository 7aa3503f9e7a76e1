"""The examples run with the libraries that they are for, and end with the rates that the schedules' formulas give.

A library that is not installed is passed over; `make test-doors` installs them all.
"""

from __future__ import annotations

import ast
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def warmup_cosine(base: float, share: float) -> float:
    """Behind the warm-up."""
    return base * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


# By example: the library, and the rates that it prints last, at the end of its run.
RATES: dict[str, tuple[str, list[float]]] = {
    # the last update is that of step 799 of 1000
    "two_optimizers": ("torch", [warmup_cosine(3e-4, 0.799), warmup_cosine(1e-3, 0.799)]),
    # in the last third of the steps a quarter
    "stable_baselines3_ppo": ("stable_baselines3", [7.5e-5, 2.5e-4]),
    "torchrl_ppo": ("torchrl", [7.5e-5, 2.5e-4]),
    "skrl_ddpg": ("skrl", [7.5e-5, 2.5e-4]),
    "lightning_module": ("lightning", [warmup_cosine(1e-3, 40 / 50)]),
    "transformers_trainer": (
        "transformers",
        [warmup_cosine(1e-3, 20 / 25) * 0.8**above for above in (4, 3, 2, 1, 0)],
    ),
}


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*RATES, "fly_onnx"}


@pytest.mark.parametrize("name", RATES)
def test_an_example_is_short(name: str) -> None:
    """Fifteen lines besides imports and a function's signature or a class's."""
    tree = ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))
    lines = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.If | ast.With)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }
    assert len(lines) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_an_example_ends_with_its_rates(name: str, tmp_path: Path) -> None:
    library, expected = RATES[name]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    printed = [
        line for line in result.stdout.splitlines() if (line.startswith("[") and "e-05" in line) or "0.0" in line
    ]
    rates = ast.literal_eval(printed[-1])
    assert (rates[-1] if name == "two_optimizers" else rates) == pytest.approx(expected, rel=1e-9)
