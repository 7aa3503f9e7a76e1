"""Settings beside the rates that follow schedules or modules: malformed ones get one clear message each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glideslope.cli.main import TRAIN_CONFIG, Composed, compose, run_cli
from glideslope.settings import Settings
from glideslope.settings.schedules import quantities

# An override, how the one message begins, and what else it says.
MALFORMED: list[tuple[str, str, str]] = [
    ("schedules=7", "schedules=7: must be a mapping", ""),
    ("schedules=[1]", "schedules=[1]: must be a mapping", ""),
    ("schedules.critic=0.1", "schedules.critic=0.1: an unknown quantity", "critic.weight_decay"),
    ("schedules.critic=[1]", "schedules.critic=[1]: an unknown quantity", ""),
    ("schedules.dicount=0.9", "schedules.dicount=0.9: an unknown quantity", "did you mean discount?"),
    ("schedules.tau=0.1", "schedules.tau=0.1: an unknown quantity", "critic_target_tau"),
    ("schedules.critic.wd=0.1", "schedules.critic.wd=0.1: an unknown quantity", "critic.weight_decay"),
    ("schedules.actor.betas=0.1", "schedules.actor.betas=0.1: an unknown quantity", "did you mean actor.beta"),
    ("schedules.policy.beta1=0.1", "schedules.policy={beta1: 0.1}: an unknown quantity", ""),
    ("schedules={critic.weight_decay: -1}", "schedules.critic.weight_decay=-1: must not be negative", ""),
    ("schedules.critic.weight_decay=2", "schedules.critic.weight_decay=2: a rate must not be greater than 1", ""),
    ("schedules.critic.weight_decay=some", "schedules.critic.weight_decay=some: a rate is a number", "0.5x"),
    ("schedules.critic.weight_decay=true", "schedules.critic.weight_decay=true: a rate is", ""),
    ("schedules.critic.weight_decay=.nan", "schedules.critic.weight_decay=", "must be a finite number"),
    ("schedules.critic.weight_decay=.inf", "schedules.critic.weight_decay=", "must be a finite number"),
    ("schedules.critic.weight_decay=[]", "schedules.critic.weight_decay=[]: a rate is a number", ""),
    ("schedules.critic.weight_decay={}", "schedules.critic.weight_decay.intervals: is missing", ""),
    ("schedules.discount=1.5", "schedules.discount=1.5: a rate must not be greater than 1", ""),
    ("schedules.discount=2x", "schedules.discount=2x: a rate, here 1.98, must not be greater than 1", ""),
    ("schedules.discount=linear(0.9)", "schedules.discount=linear(0.9): must be a number", "linear(init,final"),
    ("schedules.discount=linear(0.9,1.1,9)", "schedules.discount=linear(0.9,1.1,9): final 1.1: a rate must not", ""),
    ("schedules.discount=linear(0.9,1,0)", "schedules.discount=linear(0.9,1,0): duration 0: must be greater", ""),
    ("schedules.discount=cosine(1,2,3)", "schedules.discount=cosine(1,2,3): must be a number", "step_linear"),
    ("schedules.actor.beta1=1", "schedules.actor.beta1=1: a rate must not be greater than 0.99999", ""),
    ("schedules.actor.beta2=-0.1", "schedules.actor.beta2=-0.1: must not be negative", ""),
    (
        "schedules.update_every_steps=2000000",
        "schedules.update_every_steps=2000000: a rate must not be greater",
        "1e+06",
    ),
    (
        "schedules.discount={type: step, intervals: [{lr: 1x}]}",
        "schedules.discount.type=step: an unknown type",
        "did you mean step_decay?",
    ),
    ("schedules.discount={type: constant}", "schedules.discount.intervals: is missing", ""),
    ("schedules.discount={type: constant, intervals: []}", "schedules.discount.intervals=[]: must be a list", ""),
    (
        "schedules.discount={type: constant, intervals: [{start: 9}]}",
        "schedules.discount.intervals.0.lr: is missing",
        "init_lr",
    ),
    (
        "schedules.discount={type: constant, intervals: [{lr: 0.9, init_value: 0.9}]}",
        "schedules.discount.intervals.0.init_value=0.9: an unknown key; did you mean init_lr?",
        "",
    ),
    (
        "schedules.discount={type: constant, intervals: [{lr: 0.9, stage: S9}]}",
        "schedules.discount.intervals.0.stage=S9: an unknown stage",
        "the stages are",
    ),
    (
        "schedules.discount={type: constant, intervals: [{lr: 0.9, end: 300}, {start: 200, lr: 1}]}",
        "schedules.discount.intervals.1.start=200: steps 200 to 1000 overlap interval 0",
        "to fix it, set schedules.discount.intervals.0.end=200",
    ),
    (
        "schedules.discount={type: reduce_on_plateau, intervals: [{lr: 0.9, metric: sucess_rate}]}",
        "schedules.discount.intervals.0.metric=sucess_rate: ",
        "success_rate",
    ),
    (
        "schedules.discount={type: piecewise_linear, intervals: [{points: [[0, 2]]}]}",
        "schedules.discount.intervals.0.points=",
        "must not be greater than 1",
    ),
    ("schedules={critic.beta1: 0.5, critic: {beta1: 0.6}}", "schedules.critic.beta1=0.6: is given twice", ""),
    (
        "schedules.update_every_steps=100000",
        "schedules.update_every_steps: no update would fall between num_seed_frames and the end of the training",
        "",
    ),
    ("lr_scale.encoder={}", "lr_scale.encoder={}: ", "number"),
    ("lr_scale=3", "lr_scale=3: must be a mapping", ""),
    ("lr_scale=[1]", "lr_scale=[1]: must be a mapping", ""),
    ("lr_scale.encoder=-1", "lr_scale.encoder=-1: must be at least 0", ""),
    ("lr_scale.encoder=fast", "lr_scale.encoder=fast: ", "number"),
    ("lr_scale.encoder.convs.0=.nan", "lr_scale.encoder.convs.0=", "finite number"),
    ("on_stage=reset", "on_stage=reset: must be keep, reset_moments or reset_step, or a mapping", ""),
    ("on_stage=3", "on_stage=3: must be a mapping", ""),
    ("on_stage.critic=true", "on_stage.critic=true: must be keep, reset_moments or reset_step", ""),
    ("on_stage.policy=keep", "on_stage.policy=keep: unknown key", "there are encoder, actor and critic"),
    ("on_stage.actor=[keep]", "on_stage.actor=[keep]: must be keep, reset_moments or reset_step", ""),
]


def refuse(_: Composed[Any]) -> int:
    raise AssertionError("the settings were accepted")


@pytest.mark.parametrize(("word", "start", "rest"), MALFORMED, ids=[case[0] for case in MALFORMED])
def test_a_malformed_setting_gets_one_clear_message(
    word: str, start: str, rest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run_cli(refuse, TRAIN_CONFIG, Settings, ["profile=smoke", "num_train_frames=1000", word]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Error: {start}")
    assert rest in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def settings(*words: str) -> Settings:
    return compose(TRAIN_CONFIG, ["profile=smoke", "num_train_frames=1000", *words], Settings).settings


def test_names_may_be_nested_or_dotted_and_null_is_none() -> None:
    for words in (
        ("schedules.critic.weight_decay=0.1", "schedules.discount=null"),
        ("schedules={critic.weight_decay: 0.1, actor: {beta1: null}, encoder: null}",),
        ("schedules={critic: {weight_decay: 0.1}}",),
    ):
        found = quantities(settings(*words))
        assert {name: schedule(0) for name, schedule in found.items()} == {"critic.weight_decay": 0.1}


def test_multiples_are_of_the_setting_itself() -> None:
    found = quantities(settings("critic_target_tau=0.02", "schedules={critic_target_tau: 2x, critic.beta2: 0.5x}"))
    assert {name: schedule(0) for name, schedule in found.items()} == {
        "critic_target_tau": 0.04,
        "critic.beta2": 0.4995,
    }


def test_a_scale_may_be_typed_as_a_dotted_key() -> None:
    assert settings("lr_scale.encoder.convs.0=0.1").lr_scale == {"encoder.convs.0": 0.1}
    assert settings("lr_scale={encoder.convs.0: 0.1}").lr_scale == {"encoder.convs.0": 0.1}


def test_a_word_alone_is_for_all_networks() -> None:
    assert set(settings("on_stage=reset_moments").on_stage.to_plain().values()) == {"reset_moments"}
    mixed = settings("on_stage.critic=reset_step").on_stage.to_plain()
    assert mixed == {"encoder": "keep", "actor": "keep", "critic": "reset_step"}
