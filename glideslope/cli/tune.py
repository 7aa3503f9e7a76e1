"""The command `tune`: run a search for learning rates, and write what it found as a preset."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from glideslope.cli.found_preset import write_preset
from glideslope.cli.overrides import Word
from glideslope.cli.sweep_progress import watching
from glideslope.display.commands import near, train_command, tune_command
from glideslope.display.console import say, screen
from glideslope.errors import UserError, failure
from glideslope.runs.run_folder import claim
from glideslope.settings import SearchSettings, Settings

if TYPE_CHECKING:
    from glideslope.cli.main import Composed


def main(composed: Composed[SearchSettings]) -> int:
    """Search as the composed settings say; return the exit status.

    Raises:
        UserError: Ray isn't installed, its cluster can't be reached, or another process runs the search.
    """
    if util.find_spec("ray") is None:
        raise UserError("a search needs the package ray; install it with pip install 'glideslope[sweep]'")
    settings, console = composed.settings, screen()
    with claim(composed.run_dir, resume=True) as folder:
        # Imported here, so that a mistyped command line is answered without waiting for torch and Ray.
        from glideslope.evaluation.comparison.summary import compare_runs
        from glideslope.evaluation.comparison.table import print_table
        from glideslope.training.preflight import make_plan
        from glideslope.training.search.population import search, trial_folders

        make_plan(settings.training, composed.given)
        say(console, "Search: ", str(near(folder.path)))
        frames = settings.num_train_frames
        try:
            with watching([(run, frames) for run in trial_folders(settings, folder.path)], console):
                found = search(settings, folder.path)
        except KeyboardInterrupt:
            say(console, "Resume the search:")
            say(console, "  ", tune_command(*composed.overrides))
            raise
        if len(found) > 1:
            print_table(compare_runs(sorted(found)), console)
        _tell(composed, folder.path, found)
    return int(len(found) < settings.population and settings.method == "pbt")


def _tell(composed: Composed[SearchSettings], folder: Path, found: list[Path]) -> None:
    """Write the rates of the best run as a preset, and print the command that trains with it."""
    from glideslope.training.objective import read_objective

    settings, best, console = composed.settings, found[0], screen()
    success = read_objective(best, "success_rate") or 0.0
    figures = (
        f"{success:.0%} of {settings.final_eval_episodes} held-out episodes of the last stage landed: the best of "
        f"{settings.population} trainings of {settings.num_train_frames:,} frames (method {settings.method})"
    )
    try:
        name = write_preset(folder, best, figures)
    except OSError as error:
        raise UserError(f"the preset of the best rates can't be written: {failure(error)}") from error
    say(console, f"Best: {near(best)}, {success:.0%} landed. Its rates are the preset {name}. Train with it:")
    kept = [word.typed for word in map(Word, composed.overrides) if _is_of_training(word.key)]
    say(console, "  ", train_command(*kept, f"lr_schedule={name}"))


def _is_of_training(key: str) -> bool:
    """Return whether a key belongs to the training, and not to the search or to what the preset sets."""
    own = SearchSettings.model_fields.keys() - Settings.model_fields.keys()
    return key.partition(".")[0] not in own and not (key == "lr" or key.startswith("lr_"))
