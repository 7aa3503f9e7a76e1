"""A window that shows pictures and tells which keys are held and pressed (pygame)."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Self

import numpy as np

from glideslope.display.films import Picture
from glideslope.errors import UserError

_UNSEEN = ("dummy", "offscreen")  # what SDL draws to where there is no screen


def has_screen() -> bool:
    """Return whether windows can be opened here."""
    named = any(os.environ.get(name) for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"))
    return named or sys.platform in ("win32", "darwin")


class Window:
    """A window as large as its pictures; open in a ``with`` block.

    Attributes:
        is_open: whether it has not been closed.
    """

    def __init__(self, title: str) -> None:
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
            import pygame
        except ModuleNotFoundError as error:
            raise UserError('a window needs the package pygame: pip install "glideslope[play]"') from error
        self._pygame, self._title = pygame, title
        self.is_open = True

    def __enter__(self) -> Self:
        try:
            self._pygame.display.init()
        except self._pygame.error as error:
            raise UserError(f"no window can be opened: {error}; show=film makes a film") from error
        driver = self._pygame.display.get_driver()
        if driver in _UNSEEN and driver != os.environ.get("SDL_VIDEODRIVER"):
            self._pygame.quit()
            raise UserError("no window can be opened: there is no screen; show=film makes a film")
        self._clock = self._pygame.time.Clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pygame.quit()

    def show(self, picture: Picture, fps: float) -> None:
        """Show a picture (H, W, 3), RGB uint8, and wait until it is time for the next one."""
        pygame, size = self._pygame, (picture.shape[1], picture.shape[0])
        surface = pygame.display.get_surface()
        if surface is None or surface.get_size() != size:
            surface = pygame.display.set_mode(size)
            pygame.display.set_caption(self._title)
        pygame.surfarray.blit_array(surface, np.swapaxes(picture, 0, 1))
        pygame.display.flip()
        self._clock.tick(fps)

    def pressed(self) -> list[str]:
        """Return the names of the keys that were pressed since the last call, such as `q`, `space` or `left`."""
        names = []
        for event in self._pygame.event.get():
            if event.type == self._pygame.QUIT:
                self.is_open = False
            elif event.type == self._pygame.KEYDOWN:
                names.append(self._pygame.key.name(event.key))
        return names

    def held(self) -> set[str]:
        """Return the names of the keys of :data:`HELD` that are down."""
        down = self._pygame.key.get_pressed()
        return {name for name in HELD if down[self._pygame.key.key_code(name)]}


HELD = ("up", "down", "left", "right", "w", "s", "i", "k", "j", "l")
"""The keys by which a person flies."""
