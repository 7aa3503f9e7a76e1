"""A learning-rate schedule for each network of Stable-Baselines3's SAC, TD3, DDPG, PPO and A2C.

Stable-Baselines3 has one `learning_rate` and writes it into every optimizer at the start of `train`. The
rates of `use_schedules` are written after that, by a hook that PyTorch calls at the start of every
`optimizer.step`: nothing of Stable-Baselines3 is replaced, and `save` finds nothing that it can't write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

try:
    import torch
    from torch.utils.hooks import RemovableHandle
except ModuleNotFoundError as error:
    raise ImportError(
        'glideslope.lr_scheduler.stable_baselines3 needs its library: pip install "glideslope[sb3]"'
    ) from error

from glideslope.lr_scheduler.optimizers import write_lr
from glideslope.lr_scheduler.schedule import History, Schedule
from glideslope.lr_scheduler.torch_scheduler import follow
from glideslope.lr_scheduler.values import choices

_hooks: WeakKeyDictionary[torch.optim.Optimizer, RemovableHandle] = WeakKeyDictionary()
_saved_as_one: WeakSet[torch.optim.Optimizer] = WeakSet()
_OWNERS = "owners"  # a key of the last group of a split: to which group each parameter of the only one before went


def use_schedules(
    model: Any,
    schedules: Mapping[str, Schedule | Callable[[int], float]],
    *,
    history: Callable[[], History] | None = None,
) -> None:
    """Give networks of a model of Stable-Baselines3 learning-rate schedules of their own: SAC, TD3, DDPG, PPO or A2C.

    The networks are `actor`, `critic`, `encoder` (the features extractor that both share: always in PPO and A2C
    unless told otherwise, else with `policy_kwargs={"share_features_extractor": True}`) and `ent_coef` (SAC's
    temperature, where it is learned). One without a schedule keeps the model's `learning_rate`; a shared features
    extractor of SAC, TD3 or DDPG then keeps the actor's rate, whose optimizer trains it. Features extractors that
    are not shared belong to the actor and to the critic. The one optimizer of PPO and A2C is split into a group of
    parameters for each network.

    Time is `model.num_timesteps`, environment steps summed over all environments: `learn` counts on from
    there with `reset_num_timesteps=False`, and from 0 otherwise. The rates in force are logged as
    `train/lr_actor` and so on; `train/learning_rate` stays that of the networks without a schedule.

    A saved model is an ordinary file of Stable-Baselines3, without the schedules: call this again after
    `load`, and it resumes exactly. So does a copy (`copy.deepcopy`). A second call replaces the first.

    >>> from stable_baselines3 import SAC
    >>> from glideslope.lr_scheduler import build_schedules
    >>> config = {"actor": {"type": "cosine_decay", "intervals": [{"init_lr": "1x", "final_lr": "0.1x"}]}}
    >>> schedules = build_schedules(config, base={"actor": 3e-4, "critic": 1e-3}, total_steps=120)
    >>> model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=1000, seed=1)
    >>> use_schedules(model, schedules)
    >>> model = model.learn(120)
    >>> [optimizer.param_groups[0]["lr"] for optimizer in (model.actor.optimizer, model.critic.optimizer)]
    [3e-05, 0.001]

    Args:
        model: of SAC, TD3, DDPG, PPO or A2C; any other with `actor.optimizer` and `critic.optimizer`, or with a
            `policy` of PPO's kind, will do.
        schedules: for each network named, a Schedule or any function from a global step to a rate.
        history: returns the curriculum's history, [(step of entry, stage), ...] in order, for schedules
            that follow stages; asked at every update.

    Raises:
        TypeError: the algorithm has neither optimizers of an actor and a critic nor one of both.
        ValueError: a network that the model does not have, or a schedule whose history is missing.
    """
    networks, absent = _networks(model)
    for name in schedules:
        if name not in networks:
            listed = f"the networks are {', '.join(networks)}"
            fault = f"{absent[name]}; {listed}" if name in absent else choices(name, networks, "networks")
            raise ValueError(f"no network {name} to give a schedule to: {fault}")
    rates = {
        name: follow(schedule, history if isinstance(schedule, Schedule) else None)
        for name, schedule in schedules.items()
    }
    for optimizer in {id(network.optimizer): network.optimizer for network in networks.values()}.values():
        own = {name: network.parameters for name, network in networks.items() if network.optimizer is optimizer}
        targets = _targets(optimizer, {name: own[name] for name in own if name in rates})
        if optimizer in _hooks:
            _hooks.pop(optimizer).remove()
        if targets:
            _hooks[optimizer] = optimizer.register_step_pre_hook(_writer(model, rates, targets))


class _Network(NamedTuple):
    """Where a network's rate is written: to all of an optimizer, or to its groups of these parameters."""

    optimizer: torch.optim.Optimizer
    parameters: list[torch.nn.Parameter] | None


def _networks(model: Any) -> tuple[dict[str, _Network], dict[str, str]]:
    """Return the model's networks, and of those that it could have but hasn't the reasons."""
    policy = getattr(model, "policy", None)
    if hasattr(policy, "mlp_extractor"):  # PPO, A2C and their kin
        return _networks_of_one_optimizer(policy)
    try:
        networks = {"actor": _Network(model.actor.optimizer, None), "critic": _Network(model.critic.optimizer, None)}
    except AttributeError:
        raise TypeError(
            f"{type(model).__name__} has neither optimizers of an actor and a critic, as SAC, TD3 and DDPG have, "
            "nor one of both, as PPO and A2C have"
        ) from None
    absent = {"ent_coef": "the model learns no temperature"}
    if getattr(model, "ent_coef_optimizer", None) is not None:
        networks["ent_coef"] = _Network(model.ent_coef_optimizer, None)
    extractor = model.actor.features_extractor
    parameters = list(extractor.parameters())
    if not parameters:
        absent["encoder"] = f"the features extractor, {type(extractor).__name__}, has no parameters"
    elif extractor is not model.critic.features_extractor:
        absent["encoder"] = _NOT_SHARED
    else:
        networks["encoder"] = _Network(model.actor.optimizer, parameters)
    return networks, absent


_NOT_SHARED = (
    'actor and critic have a features extractor each; share one with policy_kwargs={"share_features_extractor": True}'
)


def _networks_of_one_optimizer(policy: Any) -> tuple[dict[str, _Network], dict[str, str]]:
    """Return the networks of an ActorCriticPolicy: what is neither the critic's nor shared is the actor's."""
    shared = policy.share_features_extractor
    parts = [policy.mlp_extractor.value_net, policy.value_net]
    parts += [getattr(policy, name) for name in ("lstm_critic", "critic") if getattr(policy, name, None) is not None]
    critic = [p for part in (*parts, *([] if shared else [policy.vf_features_extractor])) for p in part.parameters()]
    encoder = list(policy.features_extractor.parameters()) if shared else []
    others = {id(parameter) for parameter in (*critic, *encoder)}
    actor = [parameter for parameter in policy.parameters() if id(parameter) not in others]
    networks = {"actor": _Network(policy.optimizer, actor), "critic": _Network(policy.optimizer, critic)}
    kind = type(policy.features_extractor).__name__
    absent = {
        "ent_coef": "the model learns no temperature",
        "encoder": f"the features extractor, {kind}, has no parameters" if shared else _NOT_SHARED,
    }
    return {**networks, **({"encoder": _Network(policy.optimizer, encoder)} if encoder else {})}, absent


def _targets(
    optimizer: torch.optim.Optimizer, own: Mapping[str, list[torch.nn.Parameter] | None]
) -> dict[str, tuple[int, ...] | None]:
    """Return the groups that each network's rate goes to, None for all; split the optimizer's group where needed."""
    if _OWNERS in optimizer.param_groups[-1] and optimizer not in _saved_as_one:
        _save_as_one(optimizer)  # the copy of one that was split has its groups, but not its hooks
    parts = {name: set(map(id, parameters)) for name, parameters in own.items() if parameters is not None}
    groups = [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
    for group in groups:
        if all(part.isdisjoint(group) or part.issuperset(group) for part in parts.values()):
            continue
        if len(groups) > 1 and optimizer not in _saved_as_one:
            raise ValueError("the optimizer must have one group of parameters, or one for each network")
        _split(optimizer, list(parts.values()))
        return _targets(optimizer, own)
    return {
        name: None
        if parameters is None
        else tuple(index for index, group in enumerate(groups) if parts[name].issuperset(group))
        for name, parameters in own.items()
    }


def _writer(
    model: Any, rates: Mapping[str, Callable[[int], float]], targets: Mapping[str, tuple[int, ...] | None]
) -> Callable[[torch.optim.Optimizer, Any, Any], None]:
    """Return the hook that writes the rates of one optimizer's networks into their groups, None being all."""

    def write(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for name, groups in targets.items():
            lr = float(rates[name](model.num_timesteps))
            write_lr(optimizer, lr, groups)
            if hasattr(model, "logger"):  # there from the first `learn` on
                model.logger.record(f"train/lr_{name}", lr)

    return write


def _split(optimizer: torch.optim.Optimizer, parts: list[set[int]]) -> None:
    """Give each of these sets of parameters a group of its own, those in none the first one."""
    if optimizer in _saved_as_one:
        _join(optimizer)
    (group,) = optimizer.param_groups
    if "param_names" in group:
        raise ValueError("an optimizer of named parameters can't be split; give it one group for each network")
    places = [next((i for i, part in enumerate(parts, 1) if id(p) in part), 0) for p in group["params"]]
    present = sorted(set(places))  # an empty group is none
    first, *others = _groups(group, [present.index(place) for place in places])
    group.update(first)
    for other in others:
        optimizer.add_param_group(other)
    _save_as_one(optimizer)


def _order(owners: list[int]) -> list[int]:
    """Return the places that the parameters had before the split, in the order of its groups."""
    return sorted(range(len(owners)), key=owners.__getitem__)


def _groups(group: Mapping[str, Any], owners: list[int]) -> list[dict[str, Any]]:
    """Return the only group as several; the last one keeps the owners for copies."""
    count = max(owners) + 1
    members = [[p for p, owner in zip(group["params"], owners, strict=True) if owner == i] for i in range(count)]
    return [{**group, "params": own, **({_OWNERS: owners} if own is members[-1] else {})} for own in members]


def _join(optimizer: torch.optim.Optimizer) -> None:
    """Undo a split."""
    groups = optimizer.param_groups
    owners = groups[-1].pop(_OWNERS)
    parameters = [parameter for group in groups for parameter in group["params"]]
    groups[0]["params"] = [parameter for _, parameter in sorted(zip(_order(owners), parameters, strict=True))]
    del groups[1:]


def _save_as_one(optimizer: torch.optim.Optimizer) -> None:
    """Save and load the state of a split optimizer as of one group, in the order before the split.

    So files of models with and without schedules are alike.
    """
    if optimizer in _saved_as_one:
        return

    def saved(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        order = _order(optimizer.param_groups[-1][_OWNERS])
        places = {order[number]: values for number, values in state["state"].items()}
        group = {**state["param_groups"][0], "params": list(range(len(order)))}
        return {**state, "state": dict(sorted(places.items())), "param_groups": [group]}

    def loaded(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        (group,) = state["param_groups"]
        return {**state, "param_groups": _groups(group, optimizer.param_groups[-1][_OWNERS])}

    optimizer.register_state_dict_post_hook(saved)
    optimizer.register_load_state_dict_pre_hook(loaded)
    _saved_as_one.add(optimizer)
