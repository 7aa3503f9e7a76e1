"""The DrQ-v2 agent (Yarats et al. 2021, arXiv:2107.09645).

Shapes: B batch, N environments, K stacked frames, S state values, P privileged values, A action axes.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from glideslope.agent.augmentation import random_brightness, random_shift
from glideslope.agent.auxiliary import Auxiliary, GimbalPrediction, Instruments, PadPrediction
from glideslope.agent.dormancy import DormantUnits
from glideslope.agent.networks.actor_critic import ActionParts, Critic, Sizes, initialize
from glideslope.agent.networks.encoders import EncoderInput
from glideslope.agent.networks.factory import build_actor_critic, build_encoder
from glideslope.agent.policy import Policy
from glideslope.agent.values import HistogramValues, ScalarValues, Values
from glideslope.lr_scheduler import parameter_groups
from glideslope.settings import NETWORKS, WHOLE, AnyActorCriticSettings, EncoderSettings, Share

_Network = TypeVar("_Network", bound=nn.Module)


class Average(Protocol):
    """Replaces tensors by their means over all processes, in place.

    Updates of critic and actor may be under way together: what belongs to either comes in the same order everywhere.
    """

    def __call__(self, tensors: Sequence[Tensor], lane: Literal["critic", "actor"]) -> None: ...


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


class Peers(NamedTuple):
    """What an update of one network reads of the others, and draws from."""

    policy: Policy
    critic: Critic
    generator: torch.Generator


class DrQV2Agent:
    """Encoder, actor and twin critic with one Adam optimizer each, and the update that trains them.

    pixels_shape: (K, H, W) of the uint8 images, or None without pixels. state_dim: S, the length of the
    flattened, stacked state; it is appended after each trunk; 0 leaves the state out. privileged_dim: P, what
    the encoder `state` reads, and with `privileged_critic` the critic; the actor's loss then trains the encoder, as
    else the critic's does. rates: the learning rate of each network: `encoder`, `actor`, `critic`. lr_scale:
    factors on it by the name of a module, such as `encoder.convs.0`, for parameter groups of their own.
    critic_target_tau: share of the critic that enters its target per update, from 0 to 1; it may be set
    between updates. stddev_clip: bound of
    the noise on the actions inside an update. augmentation_pad: largest random shift in pixels, 0 for none.
    augmentation_brightness: largest random change of an image's brightness, as a share of it, 0 for none.
    pretanh_penalty: weight of the mean squared pre-tanh output in the actor's loss. noise_scale: A factors on
    the exploration noise, when acting and in updates. gimbal_axes: the action axes that turn the gimbal, for
    pairs that treat them apart. critic_layer_norm: whether the critic's hidden layers are normalised. value_bins: of
    a categorical value between the ends of value_range, 1 for a scalar one. auxiliary_weight: weight of the
    encoder's auxiliary task beside the loss that trains it, 0 for none. auxiliary_target: `gimbal_angles`, the angles
    that look at the pad as shares of gimbal_limits_deg, which are then the last of a batch's privileged values, or
    `pad_motion`, the first six. instruments: how the state tells of motion, which `pad_motion` then makes use of.
    auxiliary_input: whether the actor reads what the task predicts, beside the state.
    seed: of the initial weights and of all draws.
    share: what this agent has of the observations and batches of several, whose losses and gradients `average` makes
    the means of. With equal seeds these stay one agent: what is drawn for its rows doesn't depend on their number.

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
        lr_scale: Mapping[str, float] = MappingProxyType({}),
        critic_target_tau: float,
        stddev_clip: float,
        augmentation_pad: int,
        augmentation_brightness: float = 0.0,
        pretanh_penalty: float = 0.0,
        noise_scale: Sequence[float],
        gimbal_axes: Sequence[int] = (),
        privileged_critic: bool = False,
        critic_layer_norm: bool = False,
        value_bins: int = 1,
        value_range: tuple[float, float] = (-2.0, 2.0),
        auxiliary_weight: float = 0.0,
        auxiliary_target: Literal["gimbal_angles", "pad_motion"] = "gimbal_angles",
        auxiliary_input: bool = False,
        gimbal_limits_deg: Sequence[float] = (),
        instruments: Instruments | None = None,
        device: torch.device | str,
        seed: int,
        share: Share = WHOLE,
        average: Average | None = None,
    ) -> None:
        if set(rates) != set(NETWORKS):
            raise ValueError(f"rates must be given for exactly {', '.join(NETWORKS)}, got {', '.join(rates)}")
        if len(noise_scale) != action_dim:
            raise ValueError(f"noise_scale needs {action_dim} values, one for each action axis, got {noise_scale}")
        if auxiliary_weight and (pixels_shape is None or not gimbal_limits_deg):
            raise ValueError("the auxiliary task needs an encoder of pixels, and gimbal_limits_deg")
        if privileged_critic and privileged_dim < 1:
            raise ValueError(f"a privileged critic needs a privileged vector, got privileged_dim={privileged_dim}")
        drone_axes = tuple(axis for axis in range(action_dim) if axis not in gimbal_axes)
        parts = ActionParts(drone_axes, tuple(gimbal_axes))
        self.device = torch.device(device)
        self.action_dim = action_dim
        self._state_dim = state_dim
        self.critic_target_tau = critic_target_tau
        self._stddev_clip = stddev_clip
        self._pad, self._brightness = augmentation_pad, augmentation_brightness
        self._pretanh_penalty = pretanh_penalty
        self.privileged_critic = privileged_critic
        self._privileged_dim = privileged_dim
        self._share, self._average = share, average
        self._values: Values = ScalarValues()
        if value_bins > 1:
            self._values = HistogramValues(*value_range, value_bins, self.device)
        self._noise_scale = torch.tensor(noise_scale, dtype=torch.float32, device=self.device)

        # Drawn on the CPU under a forked state: the same weights on every device, no global draw disturbed.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(encoder, pixels_shape, state_dim, privileged_dim)
            sizes = Sizes(
                self.encoder.feature_size,
                state_dim,
                action_dim,
                feature_dim,
                hidden_dim,
                critic_layer_norm,
                value_bins,
            )
            critic_reads = privileged_dim if privileged_critic else 0
            self._predicts = bool(auxiliary_weight) and auxiliary_input
            task = GimbalPrediction if auxiliary_target == "gimbal_angles" else PadPrediction
            predicted_dim = task.size if self._predicts else 0
            self.actor, self.critic = build_actor_critic(actor_critic, sizes, parts, critic_reads, predicted_dim)
            networks = (self.encoder, self.actor, self.critic)
            self.networks: dict[str, nn.Module] = dict(zip(NETWORKS, networks, strict=True))
            for network in networks:
                initialize(network)
                network.to(self.device)
            self.auxiliary: Auxiliary | None = None
            if auxiliary_weight:
                features = self.encoder.feature_size
                if task is GimbalPrediction:
                    self.auxiliary = GimbalPrediction(features, feature_dim, gimbal_limits_deg, auxiliary_weight)
                else:
                    self.auxiliary = PadPrediction(
                        features, state_dim, feature_dim, hidden_dim, auxiliary_weight, instruments
                    )
                initialize(self.auxiliary)
                self.auxiliary.to(self.device)
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self._parameters: dict[str, list[Tensor]] = {name: _tensors(network) for name, network in self.networks.items()}
        if self.auxiliary is not None:
            self._parameters["encoder"] += _tensors(self.auxiliary)
        self._target_parameters = _tensors(self.critic_target)
        groups = self._groups(lr_scale)
        # Fused: one kernel per optimizer; it takes a float rate as well as a tensor one.
        fused = self.device.type in ("cpu", "cuda")
        self.optimizers: dict[str, torch.optim.Adam] = {
            # Decoupled (Loshchilov & Hutter 2019): a weight decay is 0 unless it is scheduled.
            name: torch.optim.Adam(groups[name], lr=rates[name], fused=fused, decoupled_weight_decay=True)
            for name in NETWORKS
        }
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._actor_generator = torch.Generator(self.device).manual_seed(seed + 1)
        predictor = self.auxiliary if self._predicts else None
        self.policy = Policy(self.encoder, self.actor, predictor)
        self._own = Peers(self.policy, self.critic, self._generator)
        self._frozen: Peers | None = None  # copies of them

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
        mean: Tensor = self.policy(*observation)
        if stddev is None:
            return mean
        return (mean + self._noise(mean, stddev, self._generator)).clamp_(-1.0, 1.0)

    def update(
        self, batch: Transitions, stddev: float, *, actor: bool = True, diagnostics: bool = False
    ) -> dict[str, Tensor]:
        """One update of the critic and its target, then of the actor.

        The encoder is updated with the critic, or with the actor where the critic is privileged. Without `actor`
        neither the actor is updated nor what is updated with it.

        stddev: standard deviation of the noise on the actions of target and actor. Returns 0-d tensors on the
        agent's device, without waiting for it: critic_loss, critic_q1, critic_q2, target_q, batch_reward; with
        `actor` actor_loss and actor_pretanh (mean absolute pre-tanh output); with the auxiliary task its loss and
        errors, before the step; with `diagnostics` also diagnostics/<network>_grad_norm, _update_to_weight (norm of the
        step over norm of the weights before), _param_norm (after the step) and _dormant_ratio (share of hidden units
        that are dormant in the passes behind the losses), of the encoder without its auxiliary task, for each network
        that is updated. They change nothing of the update and are not computed without `diagnostics`.

        Raises DivergedError, before the loss reaches any weight, where it is not a finite number; on the CPU
        only, as an accelerator would have to be waited for: look at the losses there.
        """
        if self.privileged_critic:
            measures = self._update_critic(batch, stddev, self._own, diagnostics)
            if actor:
                measures |= self._update_actor(batch, stddev, self._own, diagnostics)
            return measures
        return self._update_from_pixels(batch, stddev, actor, diagnostics)

    def freeze(self) -> None:
        """Copy the networks for `update_frozen`: what the updates until the next call see of each other."""
        if self._frozen is None:
            self._frozen = Peers(_frozen_copy(self.policy), _frozen_copy(self.critic), self._actor_generator)
            return
        frozen, own = _tensors(self._frozen.policy, self._frozen.critic), _tensors(self.policy, self.critic)
        with torch.no_grad():
            torch._foreach_copy_(frozen, own)

    def update_frozen(
        self, part: Literal["critic", "actor"], batch: Transitions, stddev: float, *, diagnostics: bool = False
    ) -> dict[str, Tensor]:
        """One update of a privileged critic, or of encoder and actor, given the others as `freeze` has copied them.

        The two parts share nothing that either changes, so that one thread may make updates of the critic while
        another makes those of the actor: the results don't depend on which is faster. Returns and raises as `update`.
        """
        if self._frozen is None or not self.privileged_critic:
            raise ValueError("call freeze() first, of an agent with a privileged critic")
        if part == "critic":
            return self._update_critic(batch, stddev, self._frozen._replace(generator=self._generator), diagnostics)
        return self._update_actor(batch, stddev, self._frozen, diagnostics)

    def _update_critic(self, batch: Transitions, stddev: float, peers: Peers, diagnostics: bool) -> dict[str, Tensor]:
        """Update a privileged critic and its target; the policy is that of the peers."""
        before = self._copy_parameters(("critic",)) if diagnostics else {}
        dormant = DormantUnits(self.networks if diagnostics else {})
        next_pixels = self._augment(batch.next_pixels, peers.generator)
        following = self._observation(next_pixels, batch.next_state, batch.next_privileged)
        with torch.no_grad():
            target_q = self._target_q(peers.policy.encoder(following), following, batch, stddev, peers)
        with dormant.watch("critic"):
            q = self.critic(self._code(self.critic, None, None, batch.privileged), batch.action)
        loss = self._values.loss(q, target_q)
        self._require_finite("critic", loss)
        self._step(loss, ("critic",))
        measures = self._after_critic(batch, loss, q, target_q)
        return measures | self._diagnostics(before, dormant)

    def _update_actor(self, batch: Transitions, stddev: float, peers: Peers, diagnostics: bool) -> dict[str, Tensor]:
        """Update encoder and actor; the critic, a privileged one, is that of the peers."""
        before = self._copy_parameters(("encoder", "actor")) if diagnostics else {}
        dormant = DormantUnits(self.networks if diagnostics else {})
        pixels = self._augment(batch.pixels, peers.generator)
        observation = self._observation(pixels, batch.state, batch.privileged)
        with dormant.watch("encoder"):
            features = self.encoder(observation)
        prediction = self._predict(features, observation.state)
        with dormant.watch("actor"):
            pretanh = self.policy.pretanh(features, observation.state, prediction)
        with torch.no_grad():
            code = self._code(peers.critic, None, None, batch.privileged)
        loss, measures = self._actor_loss(pretanh, code, stddev, peers.critic, peers.generator)
        self._require_finite("actor", loss)
        auxiliary_loss, errors = self._auxiliary_loss(prediction, batch.privileged)
        self._step(loss if auxiliary_loss is None else loss + auxiliary_loss, ("encoder", "actor"))
        return measures | errors | self._diagnostics(before, dormant)

    def _update_from_pixels(
        self, batch: Transitions, stddev: float, actor: bool, diagnostics: bool
    ) -> dict[str, Tensor]:
        """Update critic and encoder together, and the actor behind them (DrQ-v2)."""
        updated = NETWORKS if actor else ("encoder", "critic")
        before = self._copy_parameters(updated) if diagnostics else {}
        dormant = DormantUnits(self.networks if diagnostics else {})
        pixels = self._augment(batch.pixels, self._generator)
        next_pixels = self._augment(batch.next_pixels, self._generator)
        observation = self._observation(pixels, batch.state, batch.privileged)
        following = self._observation(next_pixels, batch.next_state, batch.next_privileged)

        with dormant.watch("encoder"):
            features = self.encoder(observation)
        with torch.no_grad():
            target_q = self._target_q(self.encoder(following), following, batch, stddev, self._own)
        with dormant.watch("critic"):
            q = self.critic(self.critic.code(features, observation.state), batch.action)
        loss = self._values.loss(q, target_q)
        self._require_finite("critic", loss)
        prediction = self._predict(features, observation.state)
        auxiliary_loss, errors = self._auxiliary_loss(prediction, batch.privileged)
        self._step(loss if auxiliary_loss is None else loss + auxiliary_loss, ("encoder", "critic"))
        measures = self._after_critic(batch, loss, q, target_q)

        if actor:
            seen, state = features.detach(), observation.state
            with dormant.watch("actor"):
                pretanh = self.policy.pretanh(seen, state, prediction)
            with torch.no_grad():
                code = self.critic.code(seen, state)
            loss, actor_measures = self._actor_loss(pretanh, code, stddev, self.critic, self._generator)
            self._require_finite("actor", loss)
            self._step(loss, ("actor",))
            measures |= actor_measures
        return measures | errors | self._diagnostics(before, dormant)

    @torch.no_grad()
    def _after_critic(self, batch: Transitions, loss: Tensor, q: Tensor, target_q: Tensor) -> dict[str, Tensor]:
        """Move the target critic towards the critic; return what there is to log."""
        torch._foreach_lerp_(self._target_parameters, self._parameters["critic"], self.critic_target_tau)
        q1, q2 = self._values.means(q.detach()).mean(dim=(1, 2)).unbind()
        return {
            "critic_loss": loss.detach(),
            "critic_q1": q1,
            "critic_q2": q2,
            "target_q": target_q.mean(),
            "batch_reward": batch.reward.mean(),
        }

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

    @torch.no_grad()
    def reset_optimizer(self, network: str, *, moments: bool) -> None:
        """Set a network's count of Adam steps to 0, from which its bias corrections follow, and its `moments` too."""
        names = ("step", "exp_avg", "exp_avg_sq") if moments else ("step",)
        for state in self.optimizers[network].state.values():
            for name in names:
                state[name].zero_()

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
            "actor_generator": self._actor_generator.get_state(),
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
            for group in optimizer.param_groups:
                group["decoupled_weight_decay"] = True  # an older snapshot has no weight decay at all
        if state["generator_device"] == self.device.type:
            self._generator.set_state(state["generator"].cpu())
            if "actor_generator" in state:
                self._actor_generator.set_state(state["actor_generator"].cpu())

    @property
    def acting(self) -> list[str]:
        """Names, in `state_dict`, of the networks that an action comes from."""
        return ["encoder", "actor", *(["auxiliary"] if self._predicts else [])]

    def load_policy(self, state: Mapping[str, Any]) -> None:
        """Take over what acts of what `state_dict` gave: encoder, actor, and the prediction that the actor reads.

        Raises KeyError, ValueError or RuntimeError when the state does not fit this agent.
        """
        for name in self.acting:
            self._modules()[name].load_state_dict(state["networks"][name])

    def _groups(self, lr_scale: Mapping[str, float]) -> dict[str, list[dict[str, Any]]]:
        """Return the parameter groups of each network's optimizer; the auxiliary task's go with the encoder's."""
        named = [
            (f"{part}.{name}", parameter)
            for part, module in self._modules().items()
            if module is not self.critic_target
            for name, parameter in module.named_parameters()
        ]
        groups = parameter_groups(named, lr_scale)
        found = {}
        for network, parameters in self._parameters.items():
            own = set(map(id, parameters))
            members = ([p for p in group["params"] if id(p) in own] for group in groups)
            found[network] = [{**group, "params": m} for group, m in zip(groups, members, strict=True) if m]
        return found

    def _modules(self) -> dict[str, nn.Module]:
        """Return all that has weights, by the name under which they are saved."""
        modules = {**self.networks, "critic_target": self.critic_target}
        return modules if self.auxiliary is None else {**modules, "auxiliary": self.auxiliary}

    def _to_device(self, value: Tensor | np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(value).to(self.device)

    def _augment(self, pixels: Tensor | None, generator: torch.Generator) -> Tensor | None:
        if pixels is None or not self.encoder.uses_pixels:
            return None
        shifted = random_shift(pixels, self._pad, generator, self._share)
        return random_brightness(shifted, self._brightness, generator, self._share)

    def _observation(self, pixels: Tensor | None, state: Tensor | None, privileged: Tensor | None) -> EncoderInput:
        """Return what the networks may see: of a batch's privileged values nothing, if there are images."""
        seen = None if self.encoder.uses_pixels or privileged is None else privileged[:, : self._privileged_dim]
        if self._state_dim == 0 or state is None:
            return EncoderInput(pixels, None, seen)
        return EncoderInput(pixels, state.flatten(1), seen)

    def _code(self, critic: Critic, features: Tensor | None, state: Tensor | None, privileged: Tensor | None) -> Tensor:
        """Return what a critic's two Q functions read of an observation: of its features, or of privileged values."""
        if self.privileged_critic:
            assert privileged is not None
            return critic.code(privileged[:, : self._privileged_dim], None)
        assert features is not None
        return critic.code(features, state)

    def _noise(self, mean: Tensor, stddev: float, generator: torch.Generator) -> Tensor:
        whole = len(mean) * self._share.count
        noise = torch.randn((whole, self.action_dim), generator=generator, device=self.device)[self._share.rows(whole)]
        return noise.mul_(self._noise_scale * stddev)

    def _sample(self, mean: Tensor, stddev: float, generator: torch.Generator) -> Tensor:
        """Return a draw from DrQ-v2's truncated normal; its gradient is the mean's, also where it is clamped."""
        with torch.no_grad():
            noise = self._noise(mean, stddev, generator).clamp_(-self._stddev_clip, self._stddev_clip)
            clamped = (mean + noise).clamp_(-1.0 + _ACTION_MARGIN, 1.0 - _ACTION_MARGIN)
        return clamped + (mean - mean.detach())

    def _target_q(
        self, features: Tensor, following: EncoderInput, batch: Transitions, stddev: float, peers: Peers
    ) -> Tensor:
        """(B, 1): the n-step return with the smaller of the target critic's two values behind it."""
        action = self._sample(torch.tanh(peers.policy.pretanh(features, following.state)), stddev, peers.generator)
        code = self._code(self.critic_target, features, following.state, batch.next_privileged)
        q = self._values.means(self.critic_target(code, action))
        return torch.addcmul(batch.reward, batch.discount, q.amin(dim=0))

    def _actor_loss(
        self, pretanh: Tensor, code: Tensor, stddev: float, critic: Critic, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the policy's output (B, A), whose value the critic tells, and what there is to log."""
        action = self._sample(torch.tanh(pretanh), stddev, generator)
        loss = -self._values.means(critic(code, action)).amin(dim=0).mean()
        if self._pretanh_penalty:
            loss = loss + self._pretanh_penalty * pretanh.square().mean()
        return loss, {"actor_loss": loss.detach(), "actor_pretanh": pretanh.detach().abs().mean()}

    def _predict(self, features: Tensor, state: Tensor | None) -> Tensor | None:
        return None if self.auxiliary is None else self.auxiliary(features, state)

    def _auxiliary_loss(
        self, prediction: Tensor | None, privileged: Tensor | None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Return the weighted loss of the auxiliary task and its measures; nothing where the task is off."""
        if self.auxiliary is None or prediction is None:
            return None, {}
        if privileged is None:
            raise ValueError("the auxiliary task needs its targets among the batch's privileged values")
        loss, errors = self.auxiliary.loss(prediction, privileged)
        weighted = self.auxiliary.weight * loss
        self._require_finite("encoder", weighted)
        return weighted, {"auxiliary_loss": loss.detach(), **errors}

    def _step(self, loss: Tensor, names: Sequence[str]) -> None:
        """Step these networks down the loss; the others get no gradient, and none is computed for them."""
        parameters = [p for name in names for p in self._parameters[name]]
        for parameter in parameters:  # as zero_grad, without its bookkeeping
            parameter.grad = None
        torch.autograd.backward(loss, inputs=parameters)
        if (average := self._averaging(names)) is not None:
            mean = loss.detach()
            average([*(p.grad for p in parameters if p.grad is not None), mean])
            self._require_finite_here(names[-1], mean)
        for name in names:
            self.optimizers[name].step()

    def _require_finite(self, name: str, loss: Tensor) -> None:
        if self._average is None:  # else all processes look at their mean
            self._require_finite_here(name, loss)

    def _require_finite_here(self, name: str, loss: Tensor) -> None:
        if self.device.type == "cpu" and not bool(loss.isfinite()):
            broken = self.not_finite() or [name]
            raise DivergedError(f"the {name}'s loss is {float(loss.detach())}; diverged: {' and '.join(broken)}")

    def _copy_parameters(self, names: Sequence[str]) -> dict[str, list[Tensor]]:
        return {name: [p.detach().clone() for p in self.networks[name].parameters()] for name in names}

    @torch.no_grad()
    def _diagnostics(self, before: Mapping[str, list[Tensor]], dormant: DormantUnits) -> dict[str, Tensor]:
        """Return the diagnostics of the networks whose parameters before the update are given."""
        measures = {}
        for name, old in before.items():
            parameters = _tensors(self.networks[name])
            gradients = [p.grad for p in parameters if p.grad is not None]
            change = _norm([p - q for p, q in zip(parameters, old, strict=True)])
            measures[f"diagnostics/{name}_grad_norm"] = _norm(gradients)
            measures[f"diagnostics/{name}_update_to_weight"] = change / _norm(old)
            measures[f"diagnostics/{name}_param_norm"] = _norm(parameters)
        ratios = dormant.ratios(self._averaging(before)) if before else {}
        return measures | {f"diagnostics/{name}_dormant_ratio": ratio for name, ratio in ratios.items()}

    def _averaging(self, names: Collection[str]) -> Callable[[Sequence[Tensor]], None] | None:
        """Return what averages tensors over all processes in an update of these networks; None where there is one."""
        if self._average is None:
            return None
        return partial(self._average, lane="actor" if "actor" in names else "critic")


def _frozen_copy(module: _Network) -> _Network:
    return copy.deepcopy(module).requires_grad_(False)


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [parameter for module in modules for parameter in module.parameters()]


def _norm(tensors: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of all elements together."""
    norm: Tensor = torch.stack(torch._foreach_norm(tensors)).norm()
    return norm
