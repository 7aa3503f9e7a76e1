"""Learning-rate schedules: the rate of each network at each step, from settings, written into PyTorch optimizers.

A schedule is a pure function of the step (and of the curriculum's history, where it follows that),
computed in float64 from a closed form, for one step or for an array of steps::

    rate(step) = base                                    before the first interval
               = curve_i(t)                              t = step - start_i, start_i <= step < end_i
               = r0 + (curve_i(t) - r0) * t / warmup_i   there, t < warmup_i (r0: the rate just before)
               = curve_i(end_i - start_i)                in a gap, and after the last end

>>> schedules = build_schedules(
...     {"actor": {"type": "step_decay", "intervals": [{"end": "50%", "lr": "1x"}, {"lr": "0.5x"}]}},
...     base={"encoder": 1e-4, "actor": 1e-4, "critic": 3e-4}, total_steps=6_000_000)
>>> [schedules["actor"](step) for step in (0, 2_999_999, 3_000_000, 10**9)]
[0.0001, 0.0001, 5e-05, 5e-05]
>>> schedules["critic"](3_000_000)
0.0003

From settings to an optimizer, module by module: `decimals` reads a number, `values` a rate, time or stage, `shapes` an
interval's type and what its curve is made of (a function of `curves`), `intervals` a network's list of them, and what
of it a training never gets to, `parsing` all networks. `schedule` joins the intervals; it alone knows of warm-ups, gaps
and ends. `plateau` holds the rules of reductions by evaluations, and `live_schedules` keeps schedules together with the
reductions of a run. `optimizers` writes rates, and other numbers of parameter groups, which `layers` makes. `presets`
holds settings by name, `sampling` draws schedules. `faults` is what a user is told.
Times are exact fractions up to the last division.
"""

from glideslope.lr_scheduler.layers import layerwise_decay, parameter_groups
from glideslope.lr_scheduler.live_schedules import LiveSchedules, ScheduleChangedError
from glideslope.lr_scheduler.optimizers import read, read_lr, write, write_lr
from glideslope.lr_scheduler.parsing import build_schedules, parse_schedule
from glideslope.lr_scheduler.presets import PRESETS, load_preset
from glideslope.lr_scheduler.sampling import plot_schedules, sample_steps
from glideslope.lr_scheduler.schedule import Schedule, Schedules
from glideslope.lr_scheduler.shapes import SHAPES
from glideslope.lr_scheduler.values import ScheduleError

__all__ = [
    "PRESETS",
    "SHAPES",
    "LiveSchedules",
    "Schedule",
    "ScheduleChangedError",
    "ScheduleError",
    "Schedules",
    "build_schedules",
    "layerwise_decay",
    "load_preset",
    "parameter_groups",
    "parse_schedule",
    "plot_schedules",
    "read",
    "read_lr",
    "sample_steps",
    "write",
    "write_lr",
]
