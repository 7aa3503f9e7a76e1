"""Overrides that choose a file under another name: the report shows the word that was meant."""

from __future__ import annotations

import pytest

from glideslope.cli.main import PREVIEW_CONFIG, TRAIN_CONFIG, compose
from glideslope.errors import SettingsError
from glideslope.settings import PreviewSettings, Settings


def faults(*argv: str, preview: bool = False) -> tuple[str, ...]:
    name, settings = (PREVIEW_CONFIG, PreviewSettings) if preview else (TRAIN_CONFIG, Settings)
    with pytest.raises(SettingsError) as error:
        compose(name, argv, settings)
    return tuple(map(str, error.value.faults))


@pytest.mark.parametrize("preview", [False, True])
def test_a_file_chosen_under_another_name_shows_the_word_that_chooses_it(preview: bool) -> None:
    written = {
        "encoder=enc_A": "encoder_bundle@agent=enc_A",
        "actor_critic=original": "actor_critic_bundle@agent=original",
        "critic=multihead_attention": "actor_critic_bundle@agent=multihead_attention",
        "schedule=gentle_decay": "lr_schedule=gentle_decay",
        "preset=conservative": "curriculum_preset=conservative",
        "stages=aggressive": "curriculum_preset=aggressive",
        "size=smoke": "profile=smoke",
    }
    found = faults(*written, preview=preview)
    assert found == tuple(f"{word}: is written {meant}" for word, meant in written.items())


def test_a_name_of_no_file_shows_the_files() -> None:
    assert faults("encoder=foo", "lr_scedule=gentle_decay", "encodr=3", "curriculum=balanced") == (
        "curriculum=balanced: is chosen with curriculum_preset=...",
        "encoder=foo: is chosen with encoder_bundle@agent=...;"
        " there are enc_A, enc_B, original, original_small, original_tiny and state",
        "lr_scedule=gentle_decay: unknown key; did you mean lr_schedule?",
        "encodr=3: unknown key; did you mean lr_encoder?",
    )


def test_a_key_of_another_bundle_names_the_bundles_that_have_it() -> None:
    words = (
        "agent.actor_critic.depth=3",
        "agent.encoder.patch=4",
        "agent.encoder.d_model=3",
        "agent.encoder.foo=1",
    )
    assert faults(*words) == (
        "agent.encoder.patch=4: unknown key of original; enc_B has it",
        "agent.encoder.d_model=3: unknown key of original; enc_A and enc_B have it",
        "agent.encoder.foo=1: unknown key; there are name, channels and strides",
        "agent.actor_critic.depth=3: unknown key of original; autoregressive_gimbal_first,"
        " autoregressive_drone_first, multihead_attention and multihead_attention_factored have it",
    )
