"""Learning-rate schedules: settings in, a rate for each network and step out, and into a PyTorch optimizer.

A schedule is a pure function of the step (and of the curriculum's history, where it follows that),
computed in float64 from a closed form. It answers the same in any order of asking, for one step and
for an array of steps::

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

The modules, in order: `curves` are pure functions; `values` parses what is written; `shapes` are the types,
each making an interval's curve of parsed values; `reader` puts a list of intervals in its place; `schedule`
joins them, and alone knows of warm-ups, gaps and ends; `build` is the way in; `optimizers` the way out;
`live` keeps schedules together with what the evaluations of a run did to them (`plateau`).
Times are exact fractions up to the last division.
"""

from glideslope.lr_scheduler.build import build_schedules, parse_stddev
from glideslope.lr_scheduler.live import LiveSchedules, ScheduleChangedError
from glideslope.lr_scheduler.optimizers import read_lr, write_lr
from glideslope.lr_scheduler.schedule import Schedule, Schedules
from glideslope.lr_scheduler.shapes import SHAPES
from glideslope.lr_scheduler.values import ScheduleError

__all__ = [
    "SHAPES",
    "LiveSchedules",
    "Schedule",
    "ScheduleChangedError",
    "ScheduleError",
    "Schedules",
    "build_schedules",
    "parse_stddev",
    "read_lr",
    "write_lr",
]
