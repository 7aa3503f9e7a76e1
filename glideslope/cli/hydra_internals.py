"""All that is used of Hydra's private modules; nothing else in the package imports them.

Hydra has no public way to replace its reader of configuration files, to read its flags, or to list the jobs of a
grid before they run. tests/unit/cli/test_hydra_internals.py fails when an upgrade of hydra-core touches them.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.file_config_source import FileConfigSource as FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigSource


def flag_parser() -> ArgumentParser:
    """Return the parser of Hydra's flags, which collects all other words as `overrides`."""
    return get_args_parser()


def replace_reader(source: type[ConfigSource]) -> None:
    """Have Hydra read the files of a scheme, such as `file`, with `source`; registering keeps Hydra's own."""
    SourcesRegistry.instance().types[source.scheme()] = source


def grid(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job of a sweep over a grid, as Hydra's basic sweeper will hand them over.

    Raises:
        HydraException: the values of a key can't be listed.
    """
    return BasicSweeper.split_arguments(list(overrides), None)[0]
