"""Films the final policy: landing.mp4 in the run folder."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

from glideslope.display.progress import Progress
from glideslope.display.workload import film_episodes, film_pictures
from glideslope.envs.gym import LandingVectorEnv
from glideslope.evaluation.scoring import Act, record_episodes
from glideslope.settings import Settings, StageSettings
from glideslope.training.write_errors import OnWriteError

FILM = "landing.mp4"


class NoFilm:
    """Makes no film: the setting `save_video` is off."""

    def __init__(self, run_dir: Path, write: OnWriteError) -> None:
        self._path, self._write = run_dir / FILM, write

    def remove(self) -> None:
        """Remove the film of an earlier end of this run, which shows another policy."""
        self._write(lambda: self._path.unlink(missing_ok=True), "the film")

    def make(self, stage: StageSettings, index: int, seeds: Sequence[int], episode_length: float) -> None:
        """Film the first scenarios of a stage.

        Args:
            stage: the stage.
            index: its index.
            seeds: the scenarios.
            episode_length: mean length of their episodes in steps.
        """


class LandingFilm(NoFilm):
    """Makes the film.

    Args:
        settings: the run's settings.
        run_dir: its folder.
        make_env: makes one environment with views; called where the film is made, as it loads the renderer.
        act: the policy.
        write: deals with a film that can't be written.
        progress: shows it.
    """

    def __init__(
        self,
        settings: Settings,
        run_dir: Path,
        make_env: Callable[[], LandingVectorEnv],
        act: Act,
        write: OnWriteError,
        progress: Progress,
    ) -> None:
        super().__init__(run_dir, write)
        self._settings, self._make_env, self._act, self._progress = settings, make_env, act, progress

    def make(self, stage: StageSettings, index: int, seeds: Sequence[int], episode_length: float) -> None:
        """Film the first scenarios of a stage."""
        pictures = film_pictures(self._settings, episode_length)
        chosen = seeds[: film_episodes(self._settings)]
        self._progress.plan({"film": pictures, "draw": 1.0})
        with self._progress.activity("film", "filming", units=pictures):
            self._write(lambda: self._record(stage, index, chosen), "the film")

    def _record(self, stage: StageSettings, index: int, seeds: Sequence[int]) -> None:
        env = self._make_env()
        try:
            record_episodes(env, self._act, stage, index, seeds, self._path)
        except (RuntimeError, ValueError) as error:  # of the encoder: no film, but the run is done
            raise OSError(errno.EIO, str(error), str(self._path)) from error
        finally:
            env.close()
