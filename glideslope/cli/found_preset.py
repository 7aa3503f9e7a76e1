"""The preset that a search writes: the learning rates of the run that it found best."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from glideslope.runs.run_folder import read_config
from glideslope.settings import NETWORKS
from glideslope.settings.yaml_files import dump_yaml
from glideslope.storage.atomic_files import write_text

_KEYS = ("lr", *(f"lr_{network}" for network in NETWORKS), "lr_schedule")


def write_preset(sweep_dir: Path, best: Path, figures: str) -> str:
    """Write the schedules and base rates of the run folder ``best`` to a file in ``./cfgs/lr_schedule/``.

    Args:
        sweep_dir: the search's folder; its name gives the preset its own, so that a search that is resumed has one.
        best: the run folder of its best trial.
        figures: what the search found, a line of the file's comment.

    Returns:
        The name that chooses the preset, as ``lr_schedule=<name>``.

    Raises:
        UserError: the run's config.yaml can't be read.
        OSError: the file can't be written.
    """
    config = read_config(best)
    name = f"found_{sha256(sweep_dir.name.encode()).hexdigest()[:6]}"
    rates = {key: config.get(key) for key in _KEYS}
    comment = ["# @package _global_", "# Found by a search.", f"# {figures}", f"# The run: {best.name}"]
    folder = Path("cfgs", "lr_schedule")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.yaml", "\n".join([*comment, "", dump_yaml(rates)]))
    return name
