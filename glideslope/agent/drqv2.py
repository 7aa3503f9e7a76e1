"""The DrQ-v2 agent (Yarats et al. 2021, arXiv:2107.09645).

Shapes: B batch, N environments, K stacked frames, S state values, P privileged values, A action axes.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from glideslope.agent.augmentation import random_brightness, random_shift
from glideslope.agent.auxiliary import GimbalPrediction
from glideslope.agent.dormancy import DormantUnits
from glideslope.agent.networks.actor_critic import ActionParts, Sizes, initialize
from glideslope.agent.networks.encoders import EncoderInput
from glideslope.agent.networks.factory import build_actor_critic, build_encoder
from glideslope.settings import NETWORKS, AnyActorCriticSettings, EncoderSettings

# Sampled actions stay this far inside (-1, 1), as in DrQ-v2.
_ACTION_MARGIN = 1e-6


class DivergedError(ArithmeticError):
    """A loss isn't a finite number; the message names the networks whose weights aren't either."""


class Transitions(Protocol):
    """Transitions over n steps. `discount` is gamma^n, or 0 where the episode terminated on the way."""

    @property
    def pixels(self) -> Tensor | None: ...  # (B, K, H, W) uint8
    @property
    def state(self) -> Tensor | None: ...  # (B, S) float32
    @property
    def privileged(self) -> Tensor | None: ...  # (B, P) float32
    @property
    def action(self) -> Tensor: ...  # (B, A) float32
    @property
    def reward(self) -> Tensor: ...  # (B, 1) float32, the discounted sum over n steps
    @property
    def discount(self) -> Tensor: ...  # (B, 1) float32
    @property
    def next_pixels(self) -> Tensor | None: ...
    @property
    def next_state(self) -> Tensor | None: ...
    @property
    def next_privileged(self) -> Tensor | None: ...


class DrQV2Agent:
    """Encoder, actor and twin critic with one Adam optimizer each, and the update that trains them.

    pixels_shape: (K, H, W) of the uint8 images, or None without pixels. state_dim: S, the length of the
    flattened, stacked state; it is appended after each trunk; 0 leaves the state out. privileged_dim: P, what
    the encoder `state` reads. rates: the learning rate of each network: `encoder`, `actor`, `critic`.
    critic_target_tau: share of the critic that enters its target per update, in (0, 1]. stddev_clip: bound of
    the noise on the actions inside an update. augmentation_pad: largest random shift in pixels, 0 for none.
    augmentation_brightness: largest random change of an image's brightness, as a share of it, 0 for none.
    pretanh_penalty: weight of the mean squared pre-tanh output in the actor's loss. noise_scale: A factors on
    the exploration noise, when acting and in updates. gimbal_axes: the action axes that turn the gimbal, for
    pairs that treat them apart. auxiliary_weight: weight of the encoder's auxiliary task beside the critic's
    loss, 0 for none; its targets, the angles that look at the pad as shares of gimbal_limits_deg, are then what
    a batch has for `privileged`. seed: of the initial weights and of all draws.

    Raises ValueError for sizes and names that do not fit.
    """

    def __init__(
        self,
        *,
        pixels_shape: tuple[int, int, int] | None,
        state_dim: int,
        privileged_dim: int,
        action_dim: int,
        encoder: EncoderSettings,
        actor_critic: AnyActorCriticSettings,
        feature_dim: int,
        hidden_dim: int,
        rates: Mapping[str, float],
        critic_target_tau: float,
        stddev_clip: float,
        augmentation_pad: int,
        augmentation_brightness: float = 0.0,
        pretanh_penalty: float = 0.0,
        noise_scale: Sequence[float],
        gimbal_axes: Sequence[int] = (),
        auxiliary_weight: float = 0.0,
        gimbal_limits_deg: Sequence[float] = (),
        device: torch.device | str,
        seed: int,
    ) -> None:
        if set(rates) != set(NETWORKS):
            raise ValueError(f"rates must be given for exactly {', '.join(NETWORKS)}, got {', '.join(rates)}")
        if len(noise_scale) != action_dim:
            raise ValueError(f"noise_scale needs {action_dim} values, one for each action axis, got {noise_scale}")
        if auxiliary_weight and (pixels_shape is None or not gimbal_limits_deg):
            raise ValueError("the auxiliary task needs an encoder of pixels, and gimbal_limits_deg")
        drone_axes = tuple(axis for axis in range(action_dim) if axis not in gimbal_axes)
        parts = ActionParts(drone_axes, tuple(gimbal_axes))
        self.device = torch.device(device)
        self.action_dim = action_dim
        self._state_dim = state_dim
        self._tau = critic_target_tau
        self._stddev_clip = stddev_clip
        self._pad, self._brightness = augmentation_pad, augmentation_brightness
        self._pretanh_penalty = pretanh_penalty
        self._noise_scale = torch.tensor(noise_scale, dtype=torch.float32, device=self.device)

        # Drawn on the CPU under a forked state: the same weights on every device, no global draw disturbed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(encoder, pixels_shape, state_dim, privileged_dim)
            sizes = Sizes(self.encoder.feature_size, state_dim, action_dim, feature_dim, hidden_dim)
            self.actor, self.critic = build_actor_critic(actor_critic, sizes, parts)
            networks = (self.encoder, self.actor, self.critic)
            self.networks: dict[str, nn.Module] = dict(zip(NETWORKS, networks, strict=True))
            for network in networks:
                initialize(network)
                network.to(self.device)
            self.auxiliary: GimbalPrediction | None = None
            if auxiliary_weight:
                self.auxiliary = GimbalPrediction(
                    self.encoder.feature_size, feature_dim, gimbal_limits_deg, auxiliary_weight
                )
                initialize(self.auxiliary)
                self.auxiliary.to(self.device)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self._parameters: dict[str, list[Tensor]] = {name: _tensors(network) for name, network in self.networks.items()}
        if self.auxiliary is not None:
            self._parameters["encoder"] += _tensors(self.auxiliary)
        self._target_parameters = _tensors(self.critic_target)
        # Fused: one kernel per optimizer; it takes a float rate as well as a tensor one.
        fused = self.device.type in ("cpu", "cuda")
        self.optimizers: dict[str, torch.optim.Adam] = {
            name: torch.optim.Adam(self._parameters[name], lr=rates[name], fused=fused) for name in NETWORKS
        }
        self._generator = torch.Generator(self.device).manual_seed(seed)

    @torch.no_grad()
    def act(self, obs: Mapping[str, Tensor | np.ndarray[Any, Any]], stddev: float | None) -> Tensor:
        """Return actions (N, A) float32 in [-1, 1], on the agent's device.

        obs: `pixels` (N, K, H, W) uint8, `state` (N, S) or (N, K, S / K), `privileged` (N, P), as far as the
        agent reads them. stddev: standard deviation of the exploration noise; None gives the policy's mean
        and draws nothing.
        """
        pixels = self._to_device(obs["pixels"]) if self.encoder.uses_pixels else None
        state = self._to_device(obs["state"]) if self._state_dim else None
        privileged = None if self.encoder.uses_pixels else self._to_device(obs["privileged"])
        observation = self._observation(pixels, state, privileged)
        mean = torch.tanh(self.actor(self.encoder(observation), observation.state))
        if stddev is None:
            return mean
        return (mean + self._noise(mean, stddev)).clamp_(-1.0, 1.0)

    def update(self, batch: Transitions, stddev: float, *, diagnostics: bool = False) -> dict[str, Tensor]:
        """One update of critic and encoder, then of the actor, then of the target critic.

        stddev: standard deviation of the noise on the actions of target and actor. Returns 0-d tensors on the
        agent's device, without waiting for it: critic_loss, actor_loss, critic_q1, critic_q2, target_q,
        batch_reward, actor_pretanh (mean absolute pre-tanh output); with the auxiliary task auxiliary_loss and
        auxiliary_error_deg (mean absolute error in degrees), both before the step; with `diagnostics` also
        diagnostics/<network>_grad_norm, _update_to_weight (norm of the step over norm of the weights before),
        _param_norm (after the step) and _dormant_ratio (share of hidden units that are dormant in the passes
        behind the losses), of the encoder without its auxiliary task. They change nothing of the update and are not
        computed without `diagnostics`.

        Raises DivergedError, before the loss reaches any weight, where it is not a finite number; on the CPU
        only, as an accelerator would have to be waited for: look at the losses there.
        """
        before = self._copy_parameters() if diagnostics else {}
        dormant = DormantUnits(self.networks if diagnostics else {})
        pixels, next_pixels = self._augment(batch.pixels), self._augment(batch.next_pixels)
        observation = self._observation(pixels, batch.state, batch.privileged)
        following = self._observation(next_pixels, batch.next_state, batch.next_privileged)

        with dormant.watch("encoder"):
            features = self.encoder(observation)
        with torch.no_grad():
            target_q = self._target_q(following, batch.reward, batch.discount, stddev)
        with dormant.watch("critic"):
            q = self.critic(self.critic.code(features, observation.state), batch.action)
        critic_loss = (q - target_q).square().mean(dim=(1, 2)).sum()
        self._require_finite("critic", critic_loss)
        auxiliary_loss, auxiliary_measures = self._auxiliary_loss(features, batch.privileged)
        self._step(critic_loss if auxiliary_loss is None else critic_loss + auxiliary_loss, ("encoder", "critic"))

        with dormant.watch("actor"):
            actor_loss, pretanh = self._actor_loss(features.detach(), observation.state, stddev)
        self._require_finite("actor", actor_loss)
        self._step(actor_loss, ("actor",))

        with torch.no_grad():
            torch._foreach_lerp_(self._target_parameters, self._parameters["critic"], self._tau)
            q1, q2 = q.detach().mean(dim=(1, 2)).unbind()
            measures = {
                "critic_loss": critic_loss.detach(),
                "actor_loss": actor_loss.detach(),
                "critic_q1": q1,
                "critic_q2": q2,
                "target_q": target_q.mean(),
                "batch_reward": batch.reward.mean(),
                "actor_pretanh": pretanh.detach().abs().mean(),
                **auxiliary_measures,
            }
            if diagnostics:
                measures |= self._diagnostics(before)
                measures |= {f"diagnostics/{name}_dormant_ratio": r for name, r in dormant.ratios().items()}
        return measures

    @torch.no_grad()
    def zero_action_outputs(self, axes: Sequence[int]) -> None:
        """Make the policy's mean zero for these action axes, as if they had never been trained.

        Zeroes their rows in the weights and biases of the last layers and in the Adam moments of both. An
        autoregressive actor's second part answers to the change of its first; its own rows stay as they are.
        """
        for layer, own_axes in self.actor.output_layers():
            places = [row for row, axis in enumerate(own_axes) if axis in axes]
            rows = torch.tensor(places, dtype=torch.int64, device=self.device)
            for parameter in (layer.weight, layer.bias):
                parameter.index_fill_(0, rows, 0.0)
                moments = self.optimizers["actor"].state.get(parameter, {})
                for name in ("exp_avg", "exp_avg_sq"):
                    if name in moments:
                        moments[name].index_fill_(0, rows, 0.0)

    def not_finite(self) -> list[str]:
        """Return the networks with a weight or an Adam moment that is NaN or infinite."""
        found = []
        for name in NETWORKS:
            tensors = [*self._parameters[name]]
            for moments in self.optimizers[name].state.values():
                tensors += [moments["exp_avg"], moments["exp_avg_sq"]]
            if name == "critic":
                tensors += self._target_parameters
            if not bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all()):
                found.append(name)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the networks, target critic, optimizers and random state: tensors and plain data, not copied."""
        return {
            "networks": {name: module.state_dict() for name, module in self._modules().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "generator": self._generator.get_state(),
            "generator_device": self.device.type,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; the next update is bit for bit the same.

        The random state of another type of device can't be taken over: the agent keeps its own. Raises
        KeyError, ValueError or RuntimeError when the state does not fit this agent.
        """
        for name, module in self._modules().items():
            module.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if state["generator_device"] == self.device.type:
            self._generator.set_state(state["generator"].cpu())

    def _modules(self) -> dict[str, nn.Module]:
        """Return all that has weights, by the name under which they are saved."""
        modules = {**self.networks, "critic_target": self.critic_target}
        return modules if self.auxiliary is None else {**modules, "auxiliary": self.auxiliary}

    def _to_device(self, value: Tensor | np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(value).to(self.device)

    def _augment(self, pixels: Tensor | None) -> Tensor | None:
        if pixels is None or not self.encoder.uses_pixels:
            return None
        shifted = random_shift(pixels, self._pad, self._generator)
        return random_brightness(shifted, self._brightness, self._generator)

    def _observation(self, pixels: Tensor | None, state: Tensor | None, privileged: Tensor | None) -> EncoderInput:
        """Return what the networks may see: of a batch's privileged values nothing, if there are images."""
        seen = None if self.encoder.uses_pixels else privileged
        if self._state_dim == 0 or state is None:
            return EncoderInput(pixels, None, seen)
        return EncoderInput(pixels, state.flatten(1), seen)

    def _noise(self, mean: Tensor, stddev: float) -> Tensor:
        noise = torch.randn(mean.shape, generator=self._generator, device=self.device)
        return noise.mul_(self._noise_scale * stddev)

    def _sample(self, mean: Tensor, stddev: float) -> Tensor:
        """Return a draw from DrQ-v2's truncated normal; its gradient is the mean's, also where it is clamped."""
        with torch.no_grad():
            noise = self._noise(mean, stddev).clamp_(-self._stddev_clip, self._stddev_clip)
            clamped = (mean + noise).clamp_(-1.0 + _ACTION_MARGIN, 1.0 - _ACTION_MARGIN)
        return clamped + (mean - mean.detach())

    def _target_q(self, following: EncoderInput, reward: Tensor, discount: Tensor, stddev: float) -> Tensor:
        """(B, 1): the n-step return with the smaller of the target critic's two values behind it."""
        features = self.encoder(following)
        action = self._sample(torch.tanh(self.actor(features, following.state)), stddev)
        q = self.critic_target(self.critic_target.code(features, following.state), action)
        return torch.addcmul(reward, discount, q.amin(dim=0))

    def _actor_loss(self, features: Tensor, state: Tensor | None, stddev: float) -> tuple[Tensor, Tensor]:
        """Return the loss and the pre-tanh output (B, A)."""
        pretanh = self.actor(features, state)
        action = self._sample(torch.tanh(pretanh), stddev)
        with torch.no_grad():
            code = self.critic.code(features, state)
        loss = -self.critic(code, action).amin(dim=0).mean()
        if self._pretanh_penalty:
            loss = loss + self._pretanh_penalty * pretanh.square().mean()
        return loss, pretanh

    def _auxiliary_loss(self, features: Tensor, angles: Tensor | None) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return the weighted loss of the auxiliary task and its measures; nothing where the task is off."""
        if self.auxiliary is None:
            return None, {}
        if angles is None:
            raise ValueError("the auxiliary task needs its angles as the batch's privileged values")
        loss, error_deg = self.auxiliary.loss(features, angles)
        weighted = self.auxiliary.weight * loss
        self._require_finite("encoder", weighted)
        return weighted, {"auxiliary_loss": loss.detach(), "auxiliary_error_deg": error_deg}

    def _step(self, loss: Tensor, names: Iterable[str]) -> None:
        """Step these networks down the loss; the others get no gradient, and none is computed for them."""
        parameters = [p for name in names for p in self._parameters[name]]
        for parameter in parameters:  # as zero_grad, without its bookkeeping
            parameter.grad = None
        torch.autograd.backward(loss, inputs=parameters)
        for name in names:
            self.optimizers[name].step()

    def _require_finite(self, name: str, loss: Tensor) -> None:
        if self.device.type == "cpu" and not bool(loss.isfinite()):
            broken = self.not_finite() or [name]
            raise DivergedError(f"the {name}'s loss is {float(loss.detach())}; diverged: {' and '.join(broken)}")

    def _copy_parameters(self) -> dict[str, list[Tensor]]:
        return {name: [p.detach().clone() for p in network.parameters()] for name, network in self.networks.items()}

    def _diagnostics(self, before: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
        measures = {}
        for name, network in self.networks.items():
            parameters = _tensors(network)
            gradients = [p.grad for p in parameters if p.grad is not None]
            weight = _norm(before[name])
            change = _norm([p - q for p, q in zip(parameters, before[name], strict=True)])
            measures[f"diagnostics/{name}_grad_norm"] = _norm(gradients)
            measures[f"diagnostics/{name}_update_to_weight"] = change / weight
            measures[f"diagnostics/{name}_param_norm"] = _norm(parameters)
        return measures


def _tensors(module: nn.Module) -> list[Tensor]:
    return list(module.parameters())


def _norm(tensors: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of all elements together."""
    norm: Tensor = torch.stack(torch._foreach_norm(tensors)).norm()
    return norm
