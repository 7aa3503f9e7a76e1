"""Encoders that attend: within each frame of the stack first, then over the frames.

Shapes: B batch, K stacked frames, H x W image, D d_model, P patches of a frame.
"""

from math import gcd

import torch
from torch import Tensor, nn

from glideslope.agent.networks.attention import Block, embedding
from glideslope.agent.networks.encoders import ConvEncoder, Encoder, EncoderInput
from glideslope.settings import AttentionSettings, CrossAttentionEncoderSettings, PatchEncoderSettings

INSTRUMENTS = (3, 4, 4, 1)  # a frame's state: velocity, attitude quaternion, gimbal quaternion, range finder if any


class FrameTokens(Encoder):
    """One token for each frame, from its image and its instruments; attention over the K frames; all K out.

    Frames are folded into the batch sample by sample, so that no frame ever meets another sample's. Every
    frame's token goes out, (B, K * D): the trunk can compare frames by itself, as DrQ-v2's does, before the
    attention has learnt to.

    pixels_shape: (K, H, W). state_dim: K * S, S being 12, or 11 without a range finder. Raises ValueError for
    another state.
    """

    uses_pixels = True

    def __init__(self, pixels_shape: tuple[int, int, int], state_dim: int, settings: AttentionSettings) -> None:
        super().__init__()
        frames, width = pixels_shape[0], settings.d_model
        present = [INSTRUMENTS[:count] for count in (3, 4) if frames * sum(INSTRUMENTS[:count]) == state_dim]
        if not present:
            raise ValueError(
                f"this encoder reads {sum(INSTRUMENTS)} values of state a frame, {sum(INSTRUMENTS[:3])} without a range"
                f" finder, got state_dim={state_dim} for {frames} frames"
            )
        self.instrument_sizes = present[0]
        self.times = embedding(frames, width)
        self.temporal = _blocks(settings, settings.temporal_depth)
        self.norm = nn.LayerNorm(width)
        self.feature_size = frames * width

    def frame_tokens(self, images: Tensor, states: Tensor) -> Tensor:
        """images: (B * K, H, W) uint8. states: (B * K, S). Returns (B * K, D)."""
        raise NotImplementedError

    def forward(self, observation: EncoderInput) -> Tensor:
        assert observation.pixels is not None
        assert observation.state is not None
        images, states = observation.pixels.flatten(0, 1), observation.state.reshape(-1, sum(self.instrument_sizes))
        tokens = self.frame_tokens(images, states).view(-1, *self.times.shape) + self.times
        for block in self.temporal:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens).flatten(1)
        return features


class CrossAttentionEncoder(FrameTokens):
    """enc_A: convolutions make an image token of each frame, which asks the frame's instruments.

    The image asks and the instruments answer: with one image token, the other way round there would be nothing
    to choose between. Instruments' tokens are not normed, which would take the speed out of the velocity.

    Raises ValueError if the image is too small for the strides.
    """

    def __init__(
        self,
        pixels_shape: tuple[int, int, int],
        state_dim: int,
        settings: CrossAttentionEncoderSettings,
    ) -> None:
        super().__init__(pixels_shape, state_dim, settings)
        width = settings.d_model
        self.convs = ConvEncoder((1, *pixels_shape[1:]), settings.channels, settings.strides)
        self.image = nn.Linear(self.convs.feature_size, width)
        self.instruments = nn.ModuleList(nn.Linear(values, width) for values in self.instrument_sizes)
        self.kinds = embedding(len(self.instrument_sizes), width)
        self.cross = _blocks(settings, settings.spatial_depth)

    def frame_tokens(self, images: Tensor, states: Tensor) -> Tensor:
        features = self.convs(EncoderInput(images.unsqueeze(1), None, None))
        token = self.image(features).unsqueeze(1)
        parts = zip(self.instruments, torch.split(states, list(self.instrument_sizes), dim=1), strict=True)
        context = torch.stack([instrument(values) for instrument, values in parts], dim=1) + self.kinds
        for block in self.cross:
            token = block(token, context)
        return token.squeeze(1)


class PatchEncoder(FrameTokens):
    """enc_B: each frame's patches attend to each other, as in the vision transformer.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), section 3.1. A linear layer over all patches makes the frame's
    token, not their mean: where in the image something is matters here, as in the flattened output of DrQ-v2's
    convolutions. What another makes of the frame's instruments is added to it.

    Raises ValueError if the patches do not fit into the image.
    """

    def __init__(self, pixels_shape: tuple[int, int, int], state_dim: int, settings: PatchEncoderSettings) -> None:
        super().__init__(pixels_shape, state_dim, settings)
        _, height, width = pixels_shape
        size = settings.patch_for(gcd(height, width))
        if size is None or height % size or width % size:
            raise ValueError(f"images of {height} x {width} can't be cut into patches of {size or 'any size'}")
        self.size = size
        patches = (height // size) * (width // size)
        self.patches = nn.Linear(size * size, settings.d_model)
        self.places = embedding(patches, settings.d_model)
        self.spatial = _blocks(settings, settings.spatial_depth)
        self.spatial_norm = nn.LayerNorm(settings.d_model)
        self.pool = nn.Linear(patches * settings.d_model, settings.d_model)
        self.instruments = nn.Linear(sum(self.instrument_sizes), settings.d_model)

    def cut(self, images: Tensor) -> Tensor:
        """Cut images (N, H, W) into patches (N, P, size²), row by row: with a linear layer, a strided convolution."""
        count, height, width = images.shape
        rows = images.view(count, height // self.size, self.size, width // self.size, self.size)
        return rows.transpose(2, 3).reshape(count, len(self.places), -1)

    def frame_tokens(self, images: Tensor, states: Tensor) -> Tensor:
        tokens = self.patches(self.cut(images).float().div_(255.0).sub_(0.5)) + self.places
        for block in self.spatial:
            tokens = block(tokens)
        token: Tensor = self.pool(self.spatial_norm(tokens).flatten(1)) + self.instruments(states)
        return token


def _blocks(settings: AttentionSettings, depth: int) -> nn.ModuleList:
    return nn.ModuleList(
        Block(settings.d_model, settings.nhead, settings.mlp_ratio, settings.dropout) for _ in range(depth)
    )
