"""Draws the grayscale ground and pad textures of landing.xml: ``python glideslope/envs/assets/make_textures.py``.

The drawings are procedural and seeded, so running this again writes the same pixels.
"""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

SIZE = 256
OUT = Path(__file__).parent / "textures"


def tiling_noise(rng: np.random.Generator, exponent: float) -> NDArray[np.float64]:
    """Return noise in [0, 1] whose power falls as 1/f^exponent; periodic, so that it tiles without seams."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.rfftfreq(SIZE), indexing="ij"))
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / frequency ** (exponent / 2)
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, s=(SIZE, SIZE))
    low, high = np.percentile(noise, [1, 99])
    return np.clip((noise - low) / (high - low), 0.0, 1.0)


def grounds(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    tiles = np.where((np.floor(4 * x) + np.floor(4 * y)) % 2 == 0, 0.45, 0.62)
    grout = (np.abs((4 * x) % 1 - 0.5) > 0.47) | (np.abs((4 * y) % 1 - 0.5) > 0.47)
    joints = (np.abs((2 * x) % 1 - 0.5) > 0.485) | (np.abs((2 * y) % 1 - 0.5) > 0.485)
    return {
        "ground_asphalt": 0.22 + 0.16 * tiling_noise(rng, 0.6),
        "ground_grass": 0.25 + 0.30 * tiling_noise(rng, 1.4),
        "ground_tiles": np.where(grout, 0.28, tiles) + 0.08 * (tiling_noise(rng, 1.0) - 0.5),
        "ground_dirt": 0.35 + 0.30 * tiling_noise(rng, 2.2),
        "ground_concrete": np.where(joints, 0.30, 0.50 + 0.12 * tiling_noise(rng, 1.6)),
    }


def pads() -> dict[str, NDArray[np.float64]]:
    y, x = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE * 2 - 1
    radius = np.hypot(x, y)
    edge = np.maximum(np.abs(x), np.abs(y))
    border = edge > 0.92
    letter = (np.abs(np.abs(x) - 0.27) < 0.09) & (np.abs(y) < 0.42) | (np.abs(y) < 0.08) & (np.abs(x) < 0.27)
    circle = np.abs(radius - 0.72) < 0.07
    rings = (np.floor(radius / 0.2) % 2 == 0) & (radius < 1.0)
    cross = (np.abs(x - y) < 0.16) | (np.abs(x + y) < 0.16)
    quarters = (x > 0) ^ (y > 0)
    return {
        "pad_h": np.where(border | circle | letter, 1.0, 0.12),
        "pad_rings": np.where(border | rings, 0.98, 0.15),
        "pad_cross": np.where(border | (cross & (radius < 0.8)), 0.05, 0.95),
        "pad_quarters": np.where(border, 1.0, np.where(quarters, 0.9, 0.08)),
    }


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, image in (grounds(np.random.default_rng(7)) | pads()).items():
        gray = (255 * np.clip(image, 0, 1)).astype(np.uint8)
        iio.imwrite(OUT / f"{name}.png", np.repeat(gray[..., None], 3, axis=2))
