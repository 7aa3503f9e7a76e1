"""What is used of Hydra's private modules is as it was when it was tried; a failure names what an upgrade touched."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import version

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from glideslope.cli import config_files, hydra_internals
from tests.support.paths import ROOT

CAP = "<1.4"
ADVICE = "try hydra_internals.py with this version of hydra-core, then raise the cap here and in pyproject.toml"


def test_the_version_is_one_that_was_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    listed = [*project["dependencies"], *(text for extra in extras for text in extra)]
    assert [text for text in listed if text.startswith("hydra-core") and text.endswith(CAP)], ADVICE
    assert version("hydra-core").startswith("1.3."), ADVICE


def test_one_module_reads_private_modules() -> None:
    private = re.compile(r"\bhydra\._internal\b")
    files = (ROOT / "glideslope").rglob("*.py")
    found = {file.name for file in files if private.search(file.read_text(encoding="utf-8"))}
    assert found == {"hydra_internals.py"}


def test_names_and_signatures() -> None:
    assert str(inspect.signature(get_args_parser)) == "() -> argparse.ArgumentParser", ADVICE
    assert list(inspect.signature(BasicSweeper.split_arguments).parameters) == ["overrides", "max_batch_size"]
    assert list(inspect.signature(FileConfigSource).parameters) == ["provider", "path"], ADVICE
    for name, parameters in {
        "load_config": ["self", "config_path"],
        "is_config": ["self", "config_path"],
        "is_group": ["self", "config_path"],
        "list": ["self", "config_path", "results_filter"],
        "_normalize_file_name": ["filename"],
    }.items():
        assert list(inspect.signature(getattr(FileConfigSource, name)).parameters) == parameters, ADVICE


def test_the_flags_are_those_that_the_command_line_checks() -> None:
    flags = vars(hydra_internals.flag_parser().parse_args([]))
    assert flags.keys() == {
        *(
            "help",
            "hydra_help",
            "overrides",
            "cfg",
            "resolve",
            "package",
            "run",
            "multirun",
            "shell_completion",
        ),
        *("config_path", "config_name", "config_dir", "experimental_rerun", "info"),
    }, ADVICE


def test_hydra_reads_files_with_our_reader() -> None:
    Plugins.instance()  # registers Hydra's own
    assert SourcesRegistry.instance().resolve("file") is config_files.FileConfigSource, ADVICE


def test_a_grid_is_every_combination_in_order() -> None:
    overrides = OverridesParser.create().parse_overrides(["++a=1,2", "b=3", "c=range(4,6)"])
    assert hydra_internals.grid(overrides) == [
        ["++a=1", "b=3", "c=4"],
        ["++a=1", "b=3", "c=5"],
        ["++a=2", "b=3", "c=4"],
        ["++a=2", "b=3", "c=5"],
    ]
