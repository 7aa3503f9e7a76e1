"""Names of run folders: made of the overrides, so that one sees in a listing what a run was about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from glideslope.cli.overrides import decoded
from glideslope.runs.run_folder import LONGEST_NAME
from glideslope.settings.catalogue import CONFIG_DIR

_HASH_LENGTH = 6
_WHOLE = re.compile(r"[A-Za-z0-9._]+=[A-Za-z0-9._-]*[A-Za-z0-9]")  # what nothing is taken from that tells it apart


def run_name(prefix: str, overrides: Sequence[str], alike: Sequence[str] = ()) -> str:
    """Return prefix and overrides as the name of a folder: [A-Za-z0-9._-], at most 80 characters, easy to type back.

    Of what is too long the names of config groups are left out, then all but the last part of each key. What is still
    too long loses its front, so that what was typed last stays. Without a prefix, a name from which something is
    missing ends in a hash of all overrides, so that other overrides have another name; with a prefix, one that lost
    its front does.

    Args:
        prefix: what the name begins with: the time, or nothing where the overrides alone are to tell the folder.
        overrides: the overrides as Hydra got them.
        alike: keys that all jobs of a sweep have alike; they are the first to be left out.

    >>> run_name("101500", ["lr_schedule=gentle_decay", "++lr_schedule.encoder.intervals.0.lr=2.0e-4"])
    '101500_lr_schedule-gentle_decay_lr_schedule.encoder.intervals.0.lr-2.0e-4'
    >>> choices = ["lr_schedule=gentle_decay", "curriculum_preset=balanced", "encoder_bundle@agent=enc_B"]
    >>> run_name("101500", [*choices, "profile=cpu", "agent.encoder.d_model=96"])
    '101500_gentle_decay_balanced_enc_B_cpu_agent.encoder.d_model-96'
    """
    words = [decoded(override).lstrip("+~") for override in overrides] or ["defaults"]
    for spell in (_without_package, _choice, _last_part):
        name = "_".join([*filter(None, [prefix]), *(_typable(spell(word)) for word in words)]).rstrip("-._")
        is_whole = bool(prefix) or (spell is _without_package and all(map(_WHOLE.fullmatch, words)))
        if len(name) <= LONGEST_NAME and is_whole:
            return name
    # The words are told apart by their whole text, the hash included.
    whole = "\0".join(decoded(override).lstrip("+") for override in overrides)
    digest = sha256(whole.encode(errors="surrogatepass")).hexdigest()[:_HASH_LENGTH]
    by_weight = sorted(words, key=lambda word: word.partition("=")[0] not in alike)
    kept = [_typable(_last_part(word)) for word in by_weight]
    room = LONGEST_NAME - len(f"{prefix}__{digest}")
    tail = "_".join(kept)[-room:].strip("-._")
    return "_".join(filter(None, (prefix, tail, digest)))


def of_sweep(overrides: Sequence[Override]) -> str:
    """Return the override that tells `run_name`, in every job, which keys the sweep `overrides` leave alone."""
    fixed = [str(override.get_key_element()) for override in overrides if not override.is_sweep_override()]
    # Hydra's own place for keys that names of folders leave out; cfgs/hydra/output/run_folders.yaml hands it on.
    keys = ",".join(f"'{decoded(key).lstrip('+~')}'" for key in fixed)
    return f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"


def _typable(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", word).strip("-")


def _without_package(override: str) -> str:
    key, equals, value = override.partition("=")
    return key.partition("@")[0] + equals + value


def _choice(override: str) -> str:
    """What is chosen in a config group, by itself."""
    group, _, value = _without_package(override).partition("=")
    chosen = value and re.fullmatch(r"\w+", group) and (CONFIG_DIR / group).is_dir()
    return value if chosen else override


def _last_part(override: str) -> str:
    key, equals, value = _choice(override).partition("=")
    return key.rpartition(".")[2] + equals + value if equals else key


OmegaConf.register_new_resolver("run_name", run_name, replace=True)
