"""The overrides of a run and those of a new command line, made one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from glideslope.cli.overrides import Word
from glideslope.settings.catalogue import CONFIG_DIR, preset_folders

# The keys that the file chosen in a group is about.
_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "lr_schedule": ("lr_schedule", "decay_rate"),
    "curriculum_preset": ("curriculum",),
    "encoder_bundle@agent": ("agent.encoder",),
    "actor_critic_bundle@agent": ("agent.actor_critic",),
    "task": ("task",),
    "profile": ("profile",),
}


def is_choice(word: Word) -> bool:
    """Return whether an override chooses the file of a group, or none."""
    return word.key in _SUBJECTS and not word.sets_mapping


def subjects(word: Word) -> tuple[str, ...]:
    """Return the keys that the file which an override chooses is about."""
    return _SUBJECTS[word.key] if is_choice(word) else ()


def may_set_anything(word: Word) -> bool:
    """Return whether the file that an override chooses may set any key: a profile, or a file of the user's."""
    group, _, name = word.text.partition("=")
    file = Path(group.partition("@")[0], f"{name}.yaml")
    shipped = next((folder for folder in preset_folders() if (folder / file).is_file()), None) == CONFIG_DIR
    return group == "profile" or not (shipped or word.deletes)


def is_below(key: str, root: str) -> bool:
    """Return whether a dotted key is `root` or a part of it."""
    return f"{key}.".startswith(f"{root}.")


def sets(word: Word, key: str) -> bool:
    """Return whether an override sets `key`, something below it or something that it is a part of."""
    return not is_choice(word) and (is_below(word.key, key) or is_below(key, word.key))


def merged(stored: Sequence[str], typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Merge the overrides of a run with those of a new command line.

    A later choice of a file takes the place of the earlier one, and another learning-rate schedule that of what was
    set inside the earlier one.

    Returns:
        The new overrides that the run doesn't have already, and all that count.
    """
    had, words = [Word(text) for text in stored], [Word(text) for text in typed]
    chosen = {word.key: word.text for word in had if is_choice(word)}
    if any(is_choice(word) and word.key == "lr_schedule" and word.text != chosen.get(word.key) for word in words):
        inside = _SUBJECTS["lr_schedule"]
        had = [word for word in had if not any(is_below(word.key, root) for root in inside)]
    new: list[Word] = []
    unseen = [word.text for word in had]
    for word in words:
        if is_choice(word):
            is_new = word.text != chosen.get(word.key)
        elif word.changes_length:
            is_new = word.text not in unseen  # each changes its list once more
        else:
            is_new = _setting(had, word.key) != _setting(words, word.key)
        if word.text in unseen:
            unseen.remove(word.text)
        if is_new:
            new.append(word)
    # An index means another item before and after a list changes its length: all that lead into lists stay in order.
    shifted = any(word.changes_length for word in (*had, *new))
    both = had
    for word in new:
        if not (shifted and word.has_index):
            both = [other for other in both if not _replaces(word, other)]
        both = [*both, word]
    return [word.typed for word in new], [word.typed for word in both]


def _setting(words: Sequence[Word], key: str) -> list[str]:
    """Return the overrides that set `key`, as Hydra is to get them."""
    return [word.text for word in words if sets(word, key)]


def _replaces(word: Word, earlier: Word) -> bool:
    """Return whether an override leaves nothing of an earlier one."""
    if word.key != earlier.key:
        return False
    if word.deletes:
        return earlier.deletes  # twice, there would be nothing to delete
    return not word.sets_mapping  # one is merged into what is there
