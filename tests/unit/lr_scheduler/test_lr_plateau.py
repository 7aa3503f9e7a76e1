"""Reduction on a plateau, and schedules with the history of a run: against torch's own rules and by hand."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.lr_scheduler import LiveSchedules, ScheduleChangedError, ScheduleError, build_schedules

TOTAL = 1000


def build(*intervals, base=1.0, total=TOTAL, stages=(), type_="reduce_on_plateau"):
    config = {"actor": {"type": type_, "intervals": list(intervals)}}
    return build_schedules(config, base={"actor": base}, total_steps=total, stage_names=stages, max_rate=None)


def evaluate(live, values, *, every=10, first=10, stages=(), metric="success_rate"):
    """Evaluations at every tenth step, with these values; the steps at which the rate was reduced."""
    other = {"success_rate": "episode_reward", "episode_reward": "success_rate"}[metric]
    return [
        step
        for step, value in zip(range(first, 10**9, every), values, strict=False)
        if live.evaluated(step, {metric: value, other: step}, stages)
    ]


# --- the pure function ---


def test_the_rate_after_reductions_by_hand():
    schedule = build({"init_lr": 0.8, "factor": 0.5, "min_lr": 0.15})["actor"]
    made = [100, 200, 300]
    # In force from the step after the evaluation; 0.8, 0.4, 0.2, and 0.1 is held up by min_lr.
    expected = {0: 0.8, 100: 0.8, 101: 0.4, 200: 0.4, 201: 0.2, 300: 0.2, 301: 0.15, 10**9: 0.15}
    assert {step: schedule(step, (), made) for step in expected} == expected
    assert schedule(np.array(list(expected)), (), made).tolist() == list(expected.values())
    assert schedule(500) == 0.8
    assert schedule(500, (), [100]) == 0.4


def test_each_interval_counts_its_own_reductions():
    schedule = build(
        {"end": 100, "init_lr": 0.8},
        {"end": 200, "type": "step_decay", "lr": 0.3},
        {"end": 300, "init_lr": 0.6, "factor": 0.1, "warmup": 10},
    )["actor"]
    made = [50, 99, 100, 199, 200, 250, 299, 300]
    # Those at 100 and 199 fall into the second interval, which does not follow evaluations.
    expected = {50: 0.8, 51: 0.4, 99: 0.4, 100: 0.3, 199: 0.3}
    # The third begins at 200 and warms up from 0.3; the evaluation at 200 is its first.
    expected |= {200: 0.3, 205: 0.3 + (0.06 - 0.3) / 2, 210: 0.06, 250: 0.06, 251: 0.006, 299: 0.006}
    # Its end value takes in the evaluation at 299, and not the one at 300.
    expected |= {300: 0.0006, 301: 0.0006, 10**6: 0.0006}
    for step, rate in expected.items():
        assert schedule(step, (), made) == pytest.approx(rate, rel=1e-12), step


def test_a_stages_reductions_are_counted_from_its_entry():
    schedule = build({"stage": 0, "init_lr": 1.0}, {"stage": 1, "init_lr": 0.5, "duration": 50})["actor"]
    stages = [(0, 0), (101, 1), (400, 1)]
    made = [100, 101, 150, 151, 420]
    expected = {100: 1.0, 101: 0.5, 102: 0.25, 150: 0.25, 151: 0.125, 399: 0.125, 400: 0.5, 421: 0.25}
    assert {step: schedule(step, stages, made) for step in expected} == expected
    assert schedule(np.array(list(expected)), stages, made).tolist() == list(expected.values())


def test_a_history_that_grows_in_place_is_followed():
    schedule = build({"stage": 0, "init_lr": 1.0}, {"stage": 1, "init_lr": 0.1})["actor"]
    stages, made = [[0, 0]], []
    assert schedule(50, stages, made) == 1.0
    made.append(40)
    assert schedule(50, stages, made) == 0.5
    stages.append([45, 1])
    assert schedule(50, stages, made) == 0.1
    stages[1][0] = 60
    assert schedule(50, stages, made) == 0.5


def test_reductions_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in order"):
        build({"lr": 1.0})["actor"](5, (), [4, 4])


# --- when a reduction is made ---


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 20).map(lambda n: n / 20), max_size=60),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from(["max", "min"]),
)
def test_reductions_are_those_of_torch(values, patience, cooldown, min_delta, mode):
    interval = {
        "lr": 1.0,
        "patience": patience,
        "cooldown": cooldown,
        "min_delta": min_delta,
        "min_lr": 0.1,
        "factor": 0.5,
        "metric": "validation_loss",
        "mode": mode,
    }
    schedules = build(interval, total=10**6)
    live = LiveSchedules(schedules)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=0.5,
        patience=patience,
        threshold=min_delta,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=0.1,
    )
    for step, value in enumerate(values, 1):
        live.evaluated(step, {"success_rate": -value, "validation_loss": value})
        theirs.step(value)
        assert live.rate("actor", step + 1) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_by_hand_with_patience_and_cooldown():
    live = LiveSchedules(build({"lr": 1.0, "patience": 1, "cooldown": 2, "metric": "episode_reward"}))
    # Best 5 at 10; 20 and 30 are no better: reduced at 30. Cooldown over 40 and 50; 60 and 70 count: reduced.
    values = [5, 5, 4, 3, 2, 1, 0, 9]
    assert evaluate(live, values, metric="episode_reward") == [30, 70]
    assert live.reductions == {"actor": [(30, 1), (70, 2)]}
    assert [live.rate("actor", step) for step in (30, 31, 70, 71)] == [1.0, 0.5, 0.5, 0.25]


def test_evaluations_before_start_after_are_not_looked_at():
    live = LiveSchedules(build({"start": 15, "end": 200, "lr": 1.0, "patience": 0, "start_after": "2%"}))
    # The interval begins at 15, and 2% are 20 steps: 40 sets the best value, 50 and 60 are no better.
    assert evaluate(live, [0.9, 0.9, 0.9, 0.5, 0.5, 0.4]) == [50, 60]


@pytest.mark.parametrize(
    ("mode", "values"), [("max", [0.1, 0.1, 0.05, 0.3, 0.3, 0.2]), ("min", [0.9, 0.9, 0.95, 0.3, 0.3, 0.4])]
)
def test_nothing_counts_before_the_metric_has_come_to_min_value(mode, values):
    live = LiveSchedules(build({"lr": 1.0, "patience": 0, "mode": mode, "min_value": 0.3}))
    # At 40 it is there; 50 and 60 are no better.
    assert evaluate(live, values) == [50, 60]
    without = LiveSchedules(build({"lr": 1.0, "patience": 0, "mode": mode}))
    assert evaluate(without, values) == [20, 30, 50, 60]


def test_the_metrics_of_a_program_have_their_modes():
    config = {"actor": {"type": "reduce_on_plateau", "intervals": [{"lr": 1.0, "patience": 0, "metric": "loss"}]}}
    metrics = {"loss": "min", "return": "max"}
    live = LiveSchedules(build_schedules(config, base={"actor": 1.0}, total_steps=TOTAL, metrics=metrics))
    assert [step for step in (10, 20, 30) if live.evaluated(step, {"loss": [0, 3, 2, 2][step // 10]})] == [30]
    config["actor"]["intervals"][0]["metric"] = "loss_"
    with pytest.raises(ScheduleError, match=r"metric=loss_: an unknown metric; did you mean loss\?"):
        build_schedules(config, base={"actor": 1.0}, total_steps=TOTAL, metrics=metrics)


def test_what_is_saved_of_a_plateau_as_before_is_as_before():
    plateau = build({"lr": 1.0})["actor"].describe()["intervals"][0]["plateau"]
    assert list(plateau) == ["metric", "factor", "patience", "min_delta", "cooldown", "min_lr"]
    changed = build({"lr": 1.0, "mode": "min", "start_after": 5, "min_value": 0})["actor"].describe()
    assert changed["intervals"][0]["plateau"] == {**plateau, "mode": "min", "start_after": "5", "min_value": 0.0}


def test_what_is_not_a_number_is_no_better():
    live = LiveSchedules(build({"lr": 1.0, "patience": 1}))
    assert evaluate(live, [float("nan"), float("nan"), 0.1, float("nan")]) == [20]


def test_the_best_is_forgotten_when_the_stage_changes():
    one, two = [(0, 0)], [(0, 0), (45, 1)]
    for stages, expected in ((one, [50, 70]), (two, [70])):
        live = LiveSchedules(build({"lr": 1.0, "patience": 1}))
        evaluate(live, [0.1, 0.2, 0.9, 0.5], stages=one)
        # In a new stage 0.3 is the best so far at 50; 60 and 70 are no better.
        assert evaluate(live, [0.3, 0.3, 0.3], first=50, stages=stages) == expected


def test_an_evaluation_where_a_stage_is_entered_is_the_new_stages_first():
    entered = [(0, 0), (50, 1)]
    for stages, expected in (([(0, 0)], [50, 70]), (entered, [70]), ([(0, 0), (51, 1)], [50])):
        live = LiveSchedules(build({"lr": 1.0, "patience": 1}))
        evaluate(live, [0.1, 0.2, 0.9, 0.5], stages=stages[:1])
        # At 50 the third evaluation without a new best, or the first of the new stage.
        assert evaluate(live, [0.3, 0.3, 0.3], first=50, stages=stages) == expected
    # By stages, each has its own patience: at 50 the second one's counts, which sets its best there.
    live = LiveSchedules(build({"stage": 0, "lr": 1.0, "patience": 0}, {"stage": 1, "lr": 0.5, "patience": 1}))
    assert evaluate(live, [0.5], stages=entered[:1]) == []
    assert evaluate(live, [0.5, 0.5, 0.5], first=50, stages=entered) == [70]
    assert [live.rate("actor", step, entered) for step in (49, 50, 70, 71)] == [1.0, 0.5, 0.5, 0.25]


def test_nothing_is_recorded_where_the_rate_would_not_fall():
    live = LiveSchedules(build({"lr": 1.0, "patience": 0, "min_lr": 0.5}))
    assert evaluate(live, [0.5] * 6) == [20]
    live = LiveSchedules(build({"lr": 0, "patience": 0}))
    assert evaluate(live, [0.5] * 6) == []


def test_evaluations_outside_its_intervals_are_not_counted():
    intervals = ({"start": 30, "end": 60, "lr": 0.5, "patience": 0}, {"type": "step_decay", "lr": 0.1})
    live = LiveSchedules(build(*intervals))
    assert evaluate(live, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]) == [40, 50]


def test_evaluations_are_in_order():
    live = LiveSchedules(build({"lr": 1.0, "patience": 0}))
    assert evaluate(live, [0.5, 0.5]) == [20]
    with pytest.raises(ValueError, match="not after"):
        live.evaluated(20, {"success_rate": 0.5})


def test_every_preset_type_switched_to_plateau_reduces_within_each_interval():
    schedules = build({"end": "50%", "lr": "1x", "patience": 0}, {"lr": "0.5x", "patience": 0}, base=0.1)
    live = LiveSchedules(schedules)
    assert evaluate(live, [0.5, 0.5], first=400, every=50) == [450]
    assert [live.rate("actor", step) for step in (450, 451, 499, 500)] == [0.1, 0.05, 0.05, 0.05]
    assert evaluate(live, [0.5, 0.5], first=500, every=50) == [550]
    assert live.rate("actor", 551) == 0.025


# --- state ---


def plain(state):
    """Through a file that holds only tensors and plain data, and through JSON."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return json.loads(json.dumps(torch.load(buffer, weights_only=True)))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5).map(lambda n: n / 5), min_size=1, max_size=40), st.integers(0, 40))
def test_a_resumed_run_reduces_where_the_whole_one_does(values, cut):
    def fresh():
        return LiveSchedules(build({"lr": 1.0, "patience": 2, "cooldown": 1}))

    whole = fresh()
    evaluate(whole, values)
    first = fresh()
    evaluate(first, values[:cut])
    second = fresh()
    second.load_state_dict(plain(first.state_dict()))
    evaluate(second, values[cut:], first=10 + 10 * cut)
    assert second.reductions == whole.reductions
    assert second.state_dict() == whole.state_dict()
    assert [second.rate("actor", step) for step in range(0, 500, 7)] == [
        whole.rate("actor", step) for step in range(0, 500, 7)
    ]


SAVED = {"type": "step_decay", "intervals": [{"end": 400, "lr": "1x"}, {"lr": "0.5x"}]}


def live_of(config, base=1e-3, total=TOTAL):
    return LiveSchedules(build_schedules({"actor": config}, base={"actor": base}, total_steps=total))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (dict(config={**SAVED, "intervals": [{"end": 500, "lr": "1x"}, {"lr": "0.5x"}]}), "start: 500"),
        (dict(config={**SAVED, "intervals": [{"end": 400, "lr": "1x"}, {"lr": "0.4x"}]}), "0.0004"),
        (dict(config={**SAVED, "intervals": SAVED["intervals"][:1]}), "now absent"),
        (dict(config={**SAVED, "type": "linear_decay"}), "shape: linear"),
        (dict(config={**SAVED, "intervals": [{"end": 400, "lr": "1x", "warmup": 9}, {"lr": "0.5x"}]}), "9"),
        (dict(config={**SAVED, "type": "reduce_on_plateau"}), "patience"),
        (dict(config=None), "absent"),
        (dict(config=SAVED, base=2e-3), "0.002"),
    ],
)  # fmt: skip
def test_a_changed_schedule_is_refused_with_its_differences(change, shown):
    saved = plain(live_of(SAVED).state_dict())
    live = live_of(**change)
    before = live.state_dict()
    with pytest.raises(ScheduleChangedError) as caught:
        live.load_state_dict(saved)
    assert isinstance(caught.value, ScheduleError)
    assert all(fault.key.startswith("actor") for fault in caught.value.faults)
    assert shown in str(caught.value)
    assert live.state_dict() == before
    live.load_state_dict(saved, accept_changes=True)


@pytest.mark.parametrize(
    "same",
    [
        {"type": "step_decay", "intervals": [{"start": 0, "end": "40%", "init_lr": 1e-3}, {"lr": "0.0005"}]},
        {"type": "constant", "intervals": [{"end": "2/5", "lr": "1x"}, {"start": 400, "lr": "0.5x"}]},
    ],
)
def test_other_words_for_the_same_schedule_are_no_change(same):
    live_of(same).load_state_dict(plain(live_of(SAVED).state_dict()))


def test_steps_given_in_numbers_may_have_a_longer_training_and_shares_may_not():
    absolute = plain(live_of(SAVED).state_dict())
    live_of(SAVED, total=2000).load_state_dict(absolute)
    shares = {"type": "step_decay", "intervals": [{"end": "40%", "lr": "1x"}, {"lr": "0.5x"}]}
    with pytest.raises(ScheduleChangedError, match="start: 800"):
        live_of(shares, total=2000).load_state_dict(plain(live_of(shares).state_dict()))


def test_reductions_already_made_survive_an_accepted_change():
    def make(patience):
        return LiveSchedules(build({"lr": 1.0, "patience": patience}))

    live = make(0)
    assert evaluate(live, [0.5, 0.5]) == [20]
    other = make(1)
    other.load_state_dict(plain(live.state_dict()), accept_changes=True)
    assert other.rate("actor", 30) == 0.5
    # What was seen is forgotten: 30 is the best so far, 40 and 50 are no better.
    assert evaluate(other, [0.1, 0.1, 0.1], first=30) == [50]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("schedules"),
        lambda state: state.pop("reductions"),
        lambda state: state.pop("watches"),
        lambda state: state["reductions"].update(actor=[30, 20]),
        lambda state: state["watches"]["actor"].pop("best"),
        lambda state: state["watches"].update(actor=None),
        lambda state: state.update(schedules=None),
        lambda state: state["schedules"].update(actor=5),
        lambda state: state["schedules"]["actor"].update(intervals=[5]),
        lambda state: state.update(reductions=[]),
        lambda state: state["reductions"].pop("actor"),
        lambda state: state["reductions"].update(actor="12"),
        lambda state: state["reductions"].update(actor=[1.5]),
        lambda state: state["watches"]["actor"].update(bad=-100),
        lambda state: state["watches"]["actor"].update(cooldown=-1),
        lambda state: state["watches"]["actor"].update(best=float("nan")),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    live = LiveSchedules(build({"lr": 1.0, "patience": 0}))
    evaluate(live, [0.5, 0.5, 0.5])
    state, before = plain(live.state_dict()), live.state_dict()
    damage(state)
    with pytest.raises(ValueError, match=r"not a state of schedules|in order"):
        live.load_state_dict(state)
    assert live.state_dict() == before


def test_rates_are_written_with_the_runs_history():
    live = LiveSchedules(build({"lr": 1.0, "patience": 0}))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    evaluate(live, [0.5, 0.5])
    written = []
    for step in (20, 21):
        live.write({"actor": optimizer}, step)
        written.append(optimizer.param_groups[0]["lr"])
    assert written == [1.0, 0.5]


LIVE = {
    "encoder": {"type": "cosine_decay", "intervals": [{"end": 40, "lr": 1e-3}, {"lr": 5e-4, "warmup": 10}]},
    "actor": {"type": "reduce_on_plateau", "intervals": [{"stage": 0, "lr": 1e-3}, {"stage": 2, "lr": 4e-4}]},
    "critic": {
        "type": "linear_decay",
        "intervals": [{"stage": 1, "lr": 1e-3, "final_lr": 0, "duration": 30}],
    },
    "other": {"type": "reduce_on_plateau", "intervals": [{"lr": 1e-3, "metric": "episode_reward"}]},
    "twin": {"type": "cosine_decay", "intervals": [{"end": 40, "lr": 1e-3}, {"lr": 5e-4, "warmup": 10}]},
}


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["evaluate", "stage", "edit", -7, 1, 2, 13, 40]), max_size=40))
def test_what_is_written_is_the_rate_of_that_step_and_history(events):
    for network in LIVE.values():
        for interval in network["intervals"]:
            if network["type"] == "reduce_on_plateau":
                interval["patience"] = 0
    schedules = build_schedules(LIVE, base=dict.fromkeys(LIVE, 1e-3), total_steps=200, stage_names=("a", "b", "c"))
    live = LiveSchedules(schedules)
    optimizers = {
        name: torch.optim.SGD([torch.zeros(1)], lr=torch.tensor(0.1, dtype=torch.float64) if i else 0.1)
        for i, name in enumerate(LIVE)
    }
    step, stages = 10, [(0, 0)]
    for event in events:
        if event == "evaluate":
            if all(step > made[-1][0] for made in live.reductions.values() if made):
                live.evaluated(step, {"success_rate": 0.5, "episode_reward": 0.5}, stages)
        elif event == "stage":
            if len(stages) < 3 and step >= stages[-1][0]:
                stages.append((step, len(stages)))
        elif event == "edit":
            stages[-1] = (stages[-1][0] + (len(stages) > 1), stages[-1][1])
        else:
            step = max(0, step + event)
        live.write(optimizers, np.int64(step) if step % 2 else step, stages)
        for name, optimizer in optimizers.items():
            made = [at for at, _ in live.reductions.get(name, [])]
            held = optimizer.param_groups[0]["lr"]
            assert type(held) in (float, torch.Tensor)
            assert float(held) == schedules[name](step, stages, made)


def test_numpys_numbers_leave_plain_states():
    live = LiveSchedules(build({"lr": 1.0, "patience": 0}))
    for step in (10, 20):
        live.evaluated(np.int64(step), {"success_rate": np.float32(0.5)})
    assert plain(live.state_dict()) == live.state_dict()
    assert live.reductions == {"actor": [(20, 1)]}
    with pytest.raises(TypeError):
        live.evaluated(30, {"success_rate": None})
