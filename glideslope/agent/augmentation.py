"""Augmentations of uint8 images: random shift (Yarats et al. 2021, arXiv:2107.09645, section 3.1), brightness."""

import torch
from torch import Tensor

from glideslope.settings import WHOLE, Share


def shift(pixels: Tensor, offsets: Tensor, pad: int) -> Tensor:
    """Crop each image of a batch out of its replicate-padded self.

    pixels: (B, C, H, W), any dtype. offsets: (B, 2) int64 in [0, 2 * pad], the row and the column at which
    the crop of size (H, W) starts in the image padded by `pad` on every side; (pad, pad) changes nothing.
    All C channels (stacked frames) of a sample move together. Returns a contiguous tensor like pixels.
    """
    batch, channels, height, width = pixels.shape
    padded = _replicate(_replicate(pixels, 2, pad), 3, pad)
    row_size = width + 2 * pad
    plane_size = (height + 2 * pad) * row_size
    planes = torch.arange(batch * channels, device=pixels.device).mul_(plane_size).view(batch, channels, 1)
    rows = torch.arange(height, device=pixels.device).mul_(row_size)
    starts = planes + (offsets[:, 0] * row_size + offsets[:, 1]).view(batch, 1, 1) + rows
    # All runs of W neighbours as one overlapping view: whole rows are copied, ten times faster than pixels.
    runs = padded.flatten().unfold(0, width, 1)
    return runs.index_select(0, starts.flatten()).view(pixels.shape)


def random_shift(pixels: Tensor, pad: int, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Shift each image of a batch by its own uniform draw of whole pixels in [-pad, pad], rows and columns.

    pixels: (B, C, H, W), of a larger batch the `share`. pad 0 returns the batch itself and draws nothing.
    """
    if pad == 0:
        return pixels
    whole = len(pixels) * share.count
    offsets = torch.randint(2 * pad + 1, (whole, 2), generator=generator, device=pixels.device)
    return shift(pixels, offsets[share.rows(whole)], pad)


def brighten(pixels: Tensor, factors: Tensor) -> Tensor:
    """Each image of a batch times its factor, rounded and kept within 0 to 255.

    pixels: (B, C, H, W) uint8; all C channels (stacked frames) of a sample have the same of the factors (B,).
    """
    scaled = pixels.to(torch.float32).mul_(factors.view(-1, 1, 1, 1))
    return scaled.round_().clamp_(0.0, 255.0).to(torch.uint8)


def random_brightness(pixels: Tensor, change: float, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Brighten each image of a batch by its own uniform draw of a factor in [1 - change, 1 + change].

    pixels: (B, C, H, W) uint8, of a larger batch the `share`. change 0 returns the batch itself and draws nothing.
    """
    if change == 0.0:
        return pixels
    whole = len(pixels) * share.count
    factors = torch.rand(whole, generator=generator, device=pixels.device)[share.rows(whole)]
    return brighten(pixels, factors.mul_(2.0 * change).add_(1.0 - change))


def _replicate(pixels: Tensor, dim: int, pad: int) -> Tensor:
    """Repeat both edges along dim `pad` times (torch's own replicate padding takes no uint8)."""
    repeats = [-1] * pixels.dim()
    repeats[dim] = pad
    first = pixels.narrow(dim, 0, 1).expand(repeats)
    last = pixels.narrow(dim, pixels.shape[dim] - 1, 1).expand(repeats)
    return torch.cat((first, pixels, last), dim)
