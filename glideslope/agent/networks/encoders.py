"""Encoders: one observation to one flat feature vector.

Shapes: B batch, K stacked frames, H x W image, P privileged values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from glideslope.settings import KERNEL, least_image_size


class EncoderInput(NamedTuple):
    """What an agent may see; a part that the task does not give is None."""

    pixels: Tensor | None  # (B, K, H, W) uint8
    state: Tensor | None  # (B, S) float32
    privileged: Tensor | None  # (B, P) float32


class Encoder(nn.Module):
    """Maps an EncoderInput to (B, feature_size) float32; `uses_pixels` says which part it reads.

    Its activations are modules, not functions: the diagnostics find its hidden units by them.
    """

    feature_size: int
    uses_pixels: bool

    def forward(self, observation: EncoderInput) -> Tensor:
        raise NotImplementedError


class ConvEncoder(Encoder):
    """Convolutions with ReLU on pixels / 255 - 0.5, flattened (DrQ-v2).

    pixels_shape: (K, H, W). Raises ValueError if the image is too small for the strides.
    """

    uses_pixels = True

    def __init__(self, pixels_shape: tuple[int, int, int], channels: int, strides: Sequence[int]) -> None:
        super().__init__()
        frames, height, width = pixels_shape
        least = least_image_size(strides)
        if min(height, width) < least:
            raise ValueError(
                f"images of {height} x {width} are too small for an encoder with strides {list(strides)}: "
                f"the least size is {least} x {least}"
            )
        inputs = [frames, *[channels] * (len(strides) - 1)]
        self.convs = nn.ModuleList(
            nn.Conv2d(width_in, channels, KERNEL, stride=stride)
            for width_in, stride in zip(inputs, strides, strict=True)
        )
        self.activation = nn.ReLU(inplace=True)
        self.feature_size = channels * _output_size(height, strides) * _output_size(width, strides)

    def forward(self, observation: EncoderInput) -> Tensor:
        assert observation.pixels is not None
        # Channels-last memory suits the convolutions; stacked planes take half the time of a copy into it.
        x = torch.stack(observation.pixels.unbind(1), dim=-1).float().div_(255.0).sub_(0.5)
        x = x.permute(0, 3, 1, 2)
        for conv in self.convs:
            x = self.activation(conv(x))
        # In the order height, width, channel: no copy from the channels-last layout.
        return x.permute(0, 2, 3, 1).flatten(1)


class StateEncoder(Encoder):
    """Linear-ReLU-Linear-ReLU on the privileged vector (P values)."""

    uses_pixels = False

    def __init__(self, privileged_dim: int, hidden_dim: int) -> None:
        super().__init__()
        if privileged_dim < 1:
            raise ValueError(f"the state encoder needs a privileged vector, got privileged_dim={privileged_dim}")
        self.layers = nn.Sequential(
            nn.Linear(privileged_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(inplace=True),
        )
        self.feature_size = hidden_dim

    def forward(self, observation: EncoderInput) -> Tensor:
        features: Tensor = self.layers(observation.privileged)
        return features


def _output_size(size: int, strides: Sequence[int]) -> int:
    for stride in strides:
        size = (size - KERNEL) // stride + 1
    return size
