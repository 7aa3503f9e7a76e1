"""Where the files of `cfgs/` are and what they offer: groups, their options, and headings of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from glideslope.settings.yaml_files import YamlError, decode_text, read_yaml

_PACKAGE = Path(__file__).resolve().parents[1]
# Inside an installed package, beside that of a checkout.
CONFIG_DIR = next(iter(_PACKAGE.glob("cfgs")), _PACKAGE.with_name("cfgs"))

_KEY = re.compile(r"(\w+):")


def preset_folders() -> tuple[Path, ...]:
    """Return where presets are looked for: first in `cfgs/` of the working directory, if that is not the package's."""
    own = Path("cfgs")
    return (own.absolute(), CONFIG_DIR) if own.is_dir() and own.resolve() != CONFIG_DIR else (CONFIG_DIR,)


@lru_cache
def groups_of(config_name: str) -> tuple[str, ...]:
    """Return the groups that a primary config chooses from, as on the command line: encoder_bundle@agent, ..."""
    return tuple(dict.fromkeys(_groups(config_name)))


def _groups(config_name: str) -> Iterator[str]:
    path = CONFIG_DIR / f"{config_name}.yaml"
    if not path.is_file():
        return
    for entry in read_yaml(path).get("defaults", []):
        if isinstance(entry, dict):
            yield from (group for group in entry if not group.startswith("override "))
        elif entry != "_self_":
            yield from _groups(entry)


def options_of(group: str, folders: Sequence[Path] | None = None) -> dict[str, str]:
    """Return the options of a group, each with what it is for: the first line of its file that says something.

    Files are looked for in `folders`, the first one before the others; in `preset_folders` by default.
    """
    found: dict[str, str] = {}
    for folder in preset_folders() if folders is None else folders:
        for path in sorted((folder / group.partition("@")[0]).glob("*.yaml")):
            if path.is_file():  # no folder, and no link of an editor's that leads nowhere
                found.setdefault(path.stem, _first_comment(path))
    return dict(sorted(found.items()))


def _first_comment(path: Path) -> str:
    try:
        lines = decode_text(path.read_bytes()).splitlines()
    except (OSError, YamlError):
        return ""  # whoever chooses the file is told what is wrong with it
    for line in lines:
        text = line.lstrip("#").strip()
        if not line.startswith("#"):
            break
        if text and not text.startswith("@package"):
            return text
    return ""


def headings_of(config_name: str) -> dict[str, list[str]]:
    """Return the top-level keys of a primary config below the comments that head them, in order."""
    found: dict[str, list[str]] = {}
    heading = ""
    text = (CONFIG_DIR / f"{config_name}.yaml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("defaults:"):
            heading = ""  # comments above are about the whole file
        elif line.startswith("# "):
            heading = line.removeprefix("# ")
        elif (match := _KEY.match(line)) and match[1] != "hydra":
            found.setdefault(heading, []).append(match[1])
    return found
