"""What a changed schedule does to a run that resumes: the rates before and after, at the step where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glideslope.lr_scheduler import LiveSchedules
from glideslope.settings import NETWORKS, Settings
from glideslope.settings.schedules import NOISE, base_quantities, run_schedules

_SAMPLES = 2000  # steps between the resume and the end that are compared at first


def live_schedules(settings: Settings) -> LiveSchedules:
    """Return the schedules of a run: the networks' rates, the exploration noise as "stddev", and other quantities."""
    return LiveSchedules(run_schedules(settings))


def rate_changes(content: Mapping[str, Any], now: LiveSchedules, end: int) -> list[str]:
    """Describe by rates how schedules differ from those of a snapshot, networks alike in one line.

    The schedules to resume with get the snapshot's reductions. The training ends at the step `end`. There is no line
    where every rate from the resume on is the same.
    """
    step, stages = int(content["step"]), content["curriculum"]["history"]
    saved = Settings.from_config(content["settings"])
    before = live_schedules(saved)
    before.load_state_dict(content["schedules"])
    now.load_state_dict(content["schedules"], accept_changes=True)
    alike: dict[str, list[str]] = {}
    constant = base_quantities(saved)  # without a schedule; they can't change in a resume
    names = [name for name in content["schedules"]["schedules"] if name not in constant]
    for name in (*names, *(name for name in constant if name in before or name in now)):

        def pair(at: int, name: str = name) -> tuple[float, float]:
            was, new = (live.rate(name, at, stages) if name in live else constant[name] for live in (before, now))
            return was, new

        steps = [step + round((end - step) * i / _SAMPLES) for i in range(_SAMPLES + 1)]
        differing = next((i for i, at in enumerate(steps) if len({*pair(at)}) > 1), None)
        if differing is None:
            continue
        at = steps[differing]
        same = steps[max(differing - 1, 0)]
        while at - same > 1:  # they agree at `same` and differ at `at`
            middle = (same + at) // 2
            at, same = (middle, same) if len({*pair(middle)}) > 1 else (at, middle)
        where = f"at the resume (step {at:,})" if at == step else f"from step {at:,} on"
        text = f"{where} {_shown(pair(at))}"
        if at < end and len({*pair(end)}) > 1:
            text += f"; at the end (step {end:,}) {_shown(pair(end))}"
        alike.setdefault(text, []).append(name)
    return [f"{_whose(names)}: {text}" for text, names in alike.items()]


def _shown(pair: tuple[float, float]) -> str:
    before, now = (_number(rate) for rate in pair)
    return f"{before} before, {now} now"


def _number(rate: float) -> str:
    """Return 0.0001 as 1e-4."""
    if rate == 0 or rate >= 0.01:
        return f"{rate:.4g}"
    mantissa, exponent = f"{rate:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _whose(names: list[str]) -> str:
    networks = [name for name in names if name in NETWORKS]
    parts = [f"lr_schedule of {', '.join(networks)}"] if networks else []
    others = [name for name in names if name not in (*NETWORKS, NOISE)]
    parts += ["stddev_schedule"] if NOISE in names else []
    return " and ".join([*parts, *([f"schedules of {', '.join(others)}"] if others else [])])
