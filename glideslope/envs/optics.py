"""What a camera's lens and exposure make of rendered views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Image = NDArray[np.uint8]


def expose(views: Image, blur: NDArray[np.float64], exposure: NDArray[np.float64]) -> Image:
    """Return the views (n, height, width), each blurred, then made brighter or darker and clipped to 0..255.

    ``blur`` (n,) is the standard deviation of a Gaussian in pixels, ``exposure`` (n,) the factor on the brightness.
    """
    light = views.astype(np.float32)
    for view, deviation in zip(light, blur, strict=True):
        if deviation > 0.0:
            gaussian_filter(view, deviation, output=view, mode="nearest")
    light *= exposure[:, None, None].astype(np.float32)
    return np.clip(np.rint(light), 0.0, 255.0).astype(np.uint8)
