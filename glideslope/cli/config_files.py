"""The files that Hydra composes: how they are read and chosen by path, and what keeps Hydra from composing them.

Hydra's own reader follows YAML 1.1, stumbles over a byte-order mark and takes an empty file for one that sets nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glideslope.cli import hydra_internals
from glideslope.errors import UNSET, Fault, reason
from glideslope.settings.yaml_files import YamlError, decode_text, parse_yaml

CONFIG_FAULTS = (HydraException, OmegaConfBaseException, YamlError)
# Hydra and OmegaConf report some malformed overrides, such as a.x=1 for a list a, with Python's own errors.
COMPOSITION_FAULTS = (*CONFIG_FAULTS, ValueError, TypeError)
OWN = "own"
"""What provides the folders of :func:`found_first`."""
# The key that a file of a group is there to set.
_SUBJECTS = {
    "lr_schedule": "lr_schedule",
    "curriculum_preset": "curriculum",
    "curriculum_stages": "curriculum",
    "encoder_bundle": "encoder",
    "actor_critic_bundle": "actor_critic",
}
_HEADER = re.compile(r"\s*#\s*@package\b[ \t]*:?[ \t]*(?P<package>[^\s#]*)[ \t]*(?P<rest>.*)", re.IGNORECASE)


class FileConfigSource(hydra_internals.FileConfigSource):
    """Reads configuration files for Hydra with the reader of `glideslope.settings.yaml_files`.

    A choice may also be an absolute path: Hydra asks for `lr_schedule//home/me/mine.yaml` then.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._file(config_path)
        if not path.is_file():
            raise ConfigLoadError(f"Config not found : {path}")
        try:
            state = path.stat()
            package, content = _read(path, config_path.partition("/")[0], state.st_mtime_ns, state.st_size)
        except OSError as error:
            raise YamlError(f"can't read {path}: {reason(error)}") from error
        except YamlError as error:
            raise YamlError(f"{path}: {error}") from error
        return ConfigResult(
            config=OmegaConf.create(content),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header={"package": package},
        )

    def is_config(self, config_path: str) -> bool:
        if self.provider == OWN and "/" not in config_path:
            return False  # a primary config of another program's, or of another version of this one
        return self._file(config_path).is_file()

    def _file(self, config_path: str) -> Path:
        group, by_path, rest = config_path.partition("//")
        if not by_path:
            return Path(self.path, self._normalize_file_name(config_path))
        file = Path(f"/{rest}") if Path(f"/{rest}").is_file() else Path(f"/{rest}.yaml")
        # The defaults list of such a file may name files of the group.
        return file if file.is_file() else Path(self.path, group, self._normalize_file_name(file.name))


hydra_internals.replace_reader(FileConfigSource)


class _OwnFolders(SearchPathPlugin):
    """Has Hydra look for files of groups in the user's folders before the package's."""

    folders: ClassVar[Sequence[Path]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.prepend(OWN, f"file://{folder}", SearchPathQuery(provider="main"))


Plugins.instance().register(_OwnFolders)


@contextmanager
def found_first(folders: Sequence[Path]) -> Iterator[None]:
    """Have Hydra look for files of groups in these folders, the first one before the others, while this is entered."""
    outer, _OwnFolders.folders = _OwnFolders.folders, folders
    try:
        yield
    finally:
        _OwnFolders.folders = outer


@lru_cache(maxsize=256)
def _read(path: Path, group: str, modified_ns: int, size: int) -> tuple[str | None, dict[str, Any]]:
    """Return the package and the content of a file; a composition asks for each of its files twice or more."""
    text = decode_text(path.read_bytes())
    return _package(text), _checked(parse_yaml(text), group)


def _package(text: str) -> str | None:
    """Return what `# @package ...` among the comments that a file begins with says."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.fullmatch(line):
            if not match["package"] or match["rest"][:1] not in ("", "#"):
                raise YamlError(f"line {number}: must be `# @package _global_`, without anything else")
            return match["package"]
        if line.strip() and not line.lstrip().startswith("#") and line.strip() != "---":
            break
    return None


def _checked(content: Any, group: str) -> dict[str, Any]:
    """Return what a file of `group` sets; refuse one that can't mean anything."""
    if content is None:
        raise YamlError("is empty: it sets nothing")
    if not isinstance(content, Mapping):
        raise YamlError("must be a mapping of settings, key: value")
    subject = _SUBJECTS.get(group)
    if subject and (not content or content.get(subject) == {}):
        raise YamlError(f"sets nothing below {subject}")
    return dict(content)


def file_of(choice: str) -> Path | None:
    """Return the absolute path of the file that a choice such as `~/mine.yaml` names; None for the name of a preset."""
    text = os.path.expanduser(choice)
    named = text.startswith(("/", "./", "../")) or text.endswith((".yaml", ".yml"))
    return Path(os.path.abspath(text)) if named else None


def explain(error: Exception) -> Fault:
    """Return what a message of Hydra's, OmegaConf's or a file reader's says, in one line."""
    if isinstance(error, YamlError):
        return Fault("", UNSET, str(error))
    source = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(source).partition("Config search path")[0]
    details = ("See https", "full_key:", "object_type=", "reference_type=")
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith(details)]
    about = str(getattr(source, "full_key", None) or "")
    return Fault(about, UNSET, " ".join(" ".join(lines).split()))
