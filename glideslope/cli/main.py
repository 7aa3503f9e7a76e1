"""Start a program with the settings that its command line asks for; only `glideslope.cli` knows Hydra.

Hydra composes the files of `cfgs/` without its side effects: no folder, no log, no change of directory.
Every fault, Hydra's own included, is collected; together they are one message and exit status 2.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

from glideslope.cli.arguments import COMPARE_CONFIG as COMPARE_CONFIG
from glideslope.cli.arguments import EVALUATE_CONFIG as EVALUATE_CONFIG
from glideslope.cli.arguments import PREVIEW_CONFIG as PREVIEW_CONFIG
from glideslope.cli.arguments import PROGRAMS as PROGRAMS
from glideslope.cli.arguments import TRAIN_CONFIG as TRAIN_CONFIG
from glideslope.cli.arguments import TUNE_CONFIG as TUNE_CONFIG
from glideslope.cli.arguments import Arguments, read_arguments
from glideslope.cli.checked_command import Composed as Composed
from glideslope.cli.checked_command import S, compose_job
from glideslope.cli.entry import INTERRUPTED, USER_FAULT, message
from glideslope.cli.help_text import help_text
from glideslope.cli.hydra_composition import Composer
from glideslope.cli.sweeps import run_by_hydra
from glideslope.errors import UserError
from glideslope.lr_scheduler import ScheduleError
from glideslope.settings import Settings
from glideslope.settings.catalogue import CONFIG_DIR as CONFIG_DIR
from glideslope.settings.checks import CheckedSettings


def run_cli(
    main: Callable[[Composed[S]], int], config_name: str, settings: type[S], argv: Sequence[str] | None = None
) -> int:
    """Compose the settings that a command line asks for, and call `main` with them.

    With `--multirun`, `main` is called for one job after the other, once all of them have been checked; `--cfg`
    and the like are Hydra's. A fault of the user's, also one that `main` raises as UserError or ScheduleError,
    becomes a message on stderr and status 2.

    Args:
        main: what the program does; returns its exit status.
        config_name: a file of `cfgs/`, without its suffix.
        settings: what the program is set by.
        argv: the words of the command line; those of the process by default.

    Returns:
        The exit status, of a sweep the worst.
    """
    # Waiting threads that spin slow a busy machine down thirtyfold; torch reads this when it is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters that the terminal lacks
    # As torchrun starts them. What is said is said once, by the first.
    processes, is_first = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    try:
        arguments = read_arguments(sys.argv[1:] if argv is None else argv, config_name, settings)
        if processes > 1 and not (settings is Settings and arguments.plain):
            raise UserError("started as several processes, by torchrun for example: only a single training can be")
        if arguments.flags.help:
            sys.stdout.write(_help(arguments, settings))
            return 0
        if arguments.plain:
            return main(compose_job(arguments, settings))
        return run_by_hydra(main, arguments, settings)
    except (UserError, ScheduleError) as error:
        if is_first:
            sys.stderr.write(message(error))
        return USER_FAULT
    except KeyboardInterrupt as error:
        sys.stderr.write("\nInterrupted.\n")
        return next(iter(error.args), INTERRUPTED)


def compose(config_name: str, argv: Sequence[str], settings: type[S]) -> Composed[S]:
    """Compose and check the settings that a plain command line asks for; see `run_cli`. Writes nothing.

    Raises:
        SettingsError: with every fault of the command line and of the files that it names.
        UserError: the command line has an unknown flag.
    """
    return compose_job(read_arguments(argv, config_name, settings), settings)


def _help(arguments: Arguments, settings: type[CheckedSettings]) -> str:
    """Return what --help shows, with the values that the other overrides make the defaults."""
    words = [word for word in arguments.overrides if word != "all"]
    with arguments.initialized() as groups:
        asked = Composer(groups).compose(words)
    everything = "all" in arguments.overrides
    return help_text(settings, asked.mapping, asked.choices, arguments.folders, everything=everything)
