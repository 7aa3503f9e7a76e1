"""What the schedules are for people without the trainer: presets, pictures, and errors in the library's words."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

from glideslope.lr_scheduler import (
    PRESETS,
    ScheduleError,
    build_schedules,
    load_preset,
    parse_schedule,
    plot_schedules,
    presets,
    sample_steps,
)
from glideslope.settings.catalogue import CONFIG_DIR


def test_presets_are_those_of_the_trainer() -> None:
    files = {path.stem: OmegaConf.load(path) for path in (CONFIG_DIR / "lr_schedule").glob("*.yaml")}
    assert set(PRESETS) == set(files)
    for name, file in files.items():
        assert load_preset(name) == OmegaConf.to_container(file, resolve=True)["lr_schedule"], name


def test_presets_serve_other_networks_and_are_copies() -> None:
    config = load_preset("gentle_decay", networks=["policy", "value"])
    assert config is not None
    assert config["policy"] == config["value"]
    config["policy"]["intervals"][0]["lr"] = "9x"
    assert load_preset("gentle_decay") == load_preset("gentle_decay")
    assert config["value"]["intervals"][0]["lr"] == "1x"
    schedules = build_schedules(load_preset("wsd", ["policy"]), base=1e-3, total_steps=1000)
    assert [schedules["policy"](step) for step in (0, 20, 800, 1000)] == pytest.approx([0.0, 1e-3, 1e-3, 1e-5])
    assert load_preset("constant", ["policy"]) is None


@pytest.mark.parametrize(
    ("name", "networks", "told"),
    [
        ("gentle", ["policy"], "no preset gentle; did you mean gentle_decay[?] the presets are constant, gentle"),
        ("fast", ["policy"], "no preset fast; the presets are constant, "),
        ("differential", ["actor", "critc"], "differential has no schedule of critc; did you mean critic"),
    ],
)
def test_unknown_presets_and_networks_are_refused(name: str, networks: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        load_preset(name, networks)


def test_one_base_rate_is_for_every_network_and_a_whole_float_is_a_length() -> None:
    config = {"policy": {"type": "linear_decay", "intervals": [{"lr": "1x", "final_lr": 0}]}}
    schedules = build_schedules(config, base=1e-3, total_steps=1e6)
    assert schedules["policy"](500_000) == 5e-4
    assert schedules["policy"](np.int32(1_000_000)) == 0.0


@pytest.mark.parametrize(
    ("more", "kind", "told"),
    [
        ({"total_steps": 1.5}, TypeError, "total_steps must be a whole number, not 1.5"),
        ({"total_steps": "1M"}, TypeError, "total_steps must be a whole number, not '1M'"),
        ({"total_steps": float("nan")}, TypeError, "total_steps must be a whole number, not nan"),
        ({"total_steps": 0}, ValueError, "the total steps must be from 1 to 1e15, not 0"),
        ({"base": 1e-3, "config": None}, ValueError, "base=0.001 is for the networks of lr_schedule, which names none"),
        ({"base": {"policy": -1.0}}, ValueError, "a base rate must be from 0 to 1, not -1.0"),
    ],
)
def test_errors_name_the_argument(more: dict[str, object], kind: type[Exception], told: str) -> None:
    arguments = {"config": {"policy": None}, "base": {"policy": 1e-3}, "total_steps": 100} | more
    with pytest.raises(kind) as caught:
        build_schedules(arguments.pop("config"), **arguments)  # type: ignore[arg-type]
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("config", [7, {"policy": {"type": "step_decay"}}])
def test_faults_of_settings_speak_of_the_library(config: object) -> None:
    with pytest.raises(ScheduleError) as caught:
        build_schedules(config, base={"policy": 1e-3}, total_steps=100)  # type: ignore[arg-type]
    assert "load_preset" in str(caught.value)
    assert "lr_schedule=gentle_decay" not in str(caught.value)


def test_a_step_that_is_no_integer_is_refused() -> None:
    schedule = parse_schedule(0.1, total_steps=10)
    with pytest.raises(TypeError, match=r"^a step must be an integer, not 3\.5$"):
        schedule(3.5)  # type: ignore[call-overload]


def test_a_schedule_says_what_it_is() -> None:
    config = {
        "actor": {
            "type": "cosine_decay",
            "intervals": [{"end": 600, "lr": 1e-3, "final_lr": 1e-4, "warmup": 50}, {"type": "constant", "lr": 2e-4}],
        },
        "critic": {"type": "reduce_on_plateau", "intervals": [{"stage": 1, "lr": "1x"}]},
        "encoder": {"type": "linear_decay", "intervals": [{"lr": "1x", "final_lr": 0, "repeat": 4}]},
    }
    base = {"actor": 1e-3, "critic": 3e-4, "encoder": 1e-3}
    shown = {name: repr(each) for name, each in build_schedules(config, base=base, total_steps=1000).items()}
    assert shown == {
        "actor": "<Schedule base=0.001; from step 0 cosine 0.001 to 0.0001 in 600 steps, warmup 50; "
        "from step 600 0.0002>",
        "critic": "<Schedule base=0.0003; from stage 1 reduce_on_plateau 0.0003 by success_rate>",
        "encoder": "<Schedule base=0.001; from step 0 linear 0.001 to 0 in 1000 steps, 4 times>",
    }
    assert repr(build_schedules(None, base={"a": 0.5}, total_steps=9)) == "Schedules({'a': <Schedule base=0.5>})"


def test_a_plot_has_every_curve_and_both_sides_of_its_jumps(tmp_path) -> None:  # type: ignore[no-untyped-def]
    schedules = build_schedules(load_preset("gentle_decay", ["a", "b"]), base=1e-3, total_steps=3000)
    axes = plot_schedules(schedules, 3000)
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    steps, rates = axes.lines[0].get_data()
    assert dict(zip(steps.tolist(), rates.tolist(), strict=True))[999] == 1e-3
    assert dict(zip(steps.tolist(), rates.tolist(), strict=True))[1000] == 5e-4
    axes.figure.savefig(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5000
    again = plot_schedules(schedules, 3000, scale="linear", axes=axes)
    assert again is axes
    assert len(axes.lines) == 4


def test_samples_have_both_sides_of_each_restart() -> None:
    config = {"a": {"type": "cosine_decay", "intervals": [{"lr": "1x", "final_lr": 0, "repeat": 3}]}}
    steps = sample_steps(build_schedules(config, base=1e-3, total_steps=10_000), 10_000)
    assert {3333, 3334, 6666, 6667} <= set(steps.tolist())


def test_pictures_without_matplotlib_name_the_extra() -> None:
    code = (
        "import sys\n"
        "sys.modules['matplotlib.figure'] = None\n"
        "from glideslope.lr_scheduler import build_schedules, plot_schedules\n"
        "try:\n    plot_schedules(build_schedules(None, base={'a': 0.1}, total_steps=9), 9)\n"
        "except ImportError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == 'plot_schedules needs Matplotlib: pip install "glideslope[plot]"\n'


def test_the_examples_run() -> None:
    assert doctest.testmod(presets).attempted
    assert doctest.testmod(presets).failed == 0
