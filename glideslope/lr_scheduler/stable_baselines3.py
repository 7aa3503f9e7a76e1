"""A learning-rate schedule for each network of Stable-Baselines3's SAC, TD3 and DDPG.

Stable-Baselines3 has one `learning_rate` and writes it into every optimizer at the start of `train`. The
rates of `use_schedules` are written after that, by a hook that PyTorch calls at the start of every
`optimizer.step`: nothing of Stable-Baselines3 is replaced, and `save` finds nothing that it can't write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
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
_APART = "encoder_parameters"  # a key of the group that was split off: which parameters of the only group it took


def use_schedules(
    model: Any,
    schedules: Mapping[str, Schedule | Callable[[int], float]],
    *,
    history: Callable[[], History] | None = None,
) -> None:
    """Give networks of a SAC, TD3 or DDPG model of Stable-Baselines3 learning-rate schedules of their own.

    The networks are `actor`, `critic`, `encoder` (the features extractor that both share, with
    `policy_kwargs={"share_features_extractor": True}`) and `ent_coef` (SAC's temperature, where it is
    learned). One without a schedule keeps the model's `learning_rate`; a shared features extractor then
    keeps the actor's rate, whose optimizer trains it. Features extractors that are not shared belong to the
    actor and to the critic.

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
        model: of SAC, TD3 or DDPG; any other with `actor.optimizer` and `critic.optimizer` will do.
        schedules: for each network named, a Schedule or any function from a global step to a rate.
        history: returns the curriculum's history, [(step of entry, stage), ...] in order, for schedules
            that follow stages; asked at every update.

    Raises:
        TypeError: the algorithm has no optimizer of its own for the actor and for the critic.
        ValueError: a network that the model does not have, or a schedule whose history is missing.
    """
    optimizers = _optimizers(model)
    encoder, obstacle = _shared_encoder(model)
    absent = {"ent_coef": "the model learns no temperature", "encoder": obstacle}
    networks = [*optimizers, *(["encoder"] if encoder else [])]
    for name in schedules:
        if name not in networks:
            listed = f"the networks are {', '.join(networks)}"
            fault = f"{absent[name]}; {listed}" if name in absent else choices(name, networks, "networks")
            raise ValueError(f"no network {name} to give a schedule to: {fault}")
    rates = {
        name: follow(schedule, history if isinstance(schedule, Schedule) else None)
        for name, schedule in schedules.items()
    }
    own_groups = _own_groups(optimizers["actor"], encoder) if "encoder" in rates else ()
    if _APART in optimizers["actor"].param_groups[-1] and optimizers["actor"] not in _saved_as_one:
        _save_as_one(optimizers["actor"])  # the copy of one that was split has its groups, but not its hooks
    for name, optimizer in optimizers.items():
        if optimizer in _hooks:
            _hooks.pop(optimizer).remove()
        targets: dict[str, tuple[int, ...] | None] = {name: None} if name in rates else {}
        if name == "actor" and "encoder" in rates:
            targets["encoder"] = own_groups  # after the actor's, which goes to all groups
        if targets:
            _hooks[optimizer] = optimizer.register_step_pre_hook(_writer(model, rates, targets))


def _optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """Return the model's optimizers by the network that they train."""
    try:
        optimizers = {"actor": model.actor.optimizer, "critic": model.critic.optimizer}
    except AttributeError:
        raise TypeError(
            f"{type(model).__name__} has no optimizers of its own for an actor and a critic, as SAC, TD3 and DDPG have"
        ) from None
    if getattr(model, "ent_coef_optimizer", None) is not None:
        optimizers["ent_coef"] = model.ent_coef_optimizer
    return optimizers


def _shared_encoder(model: Any) -> tuple[list[torch.nn.Parameter], str]:
    """Return the parameters of the features extractor that actor and critic share; or none, and the reason."""
    extractor = model.actor.features_extractor
    parameters = list(extractor.parameters())
    if not parameters:
        return [], f"the features extractor, {type(extractor).__name__}, has no parameters"
    if extractor is not model.critic.features_extractor:
        return [], (
            "actor and critic have a features extractor each; "
            'share one with policy_kwargs={"share_features_extractor": True}'
        )
    return parameters, ""


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


def _own_groups(optimizer: torch.optim.Optimizer, members: list[torch.nn.Parameter]) -> tuple[int, ...]:
    """Return the indices of the parameter groups that hold these parameters, set apart from the others first."""
    wanted = {id(parameter) for parameter in members}
    inside = [[id(parameter) in wanted for parameter in group["params"]] for group in optimizer.param_groups]
    if any(any(flags) and not all(flags) for flags in inside):
        if len(inside) > 1 or "param_names" in optimizer.param_groups[0]:
            raise ValueError("the actor's optimizer must have one group of parameters, or one for the encoder")
        first, second = _split(optimizer.param_groups[0], inside[0])
        optimizer.param_groups[0]["params"] = first["params"]
        optimizer.add_param_group(second)
        _save_as_one(optimizer)
        return (1,)
    return tuple(index for index, flags in enumerate(inside) if all(flags))


def _order(apart: list[bool]) -> list[int]:
    """Return the places of the parameters, those set apart last."""
    return sorted(range(len(apart)), key=lambda place: apart[place])


def _split(group: Mapping[str, Any], apart: list[bool]) -> list[dict[str, Any]]:
    """Return the only group as two, the flagged parameters in the second, which keeps the flags for copies."""
    members, kept = [group["params"][place] for place in _order(apart)], apart.count(False)
    return [{**group, "params": members[:kept]}, {**group, "params": members[kept:], _APART: apart}]


def _save_as_one(optimizer: torch.optim.Optimizer) -> None:
    """Save and load the state of a split optimizer as of one group, in the order before the split.

    So files of models with and without schedules are alike.
    """
    apart: list[bool] = optimizer.param_groups[1][_APART]
    order = _order(apart)

    def saved(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        places = {order[number]: values for number, values in state["state"].items()}
        group = {**state["param_groups"][0], "params": list(range(len(order)))}
        return {**state, "state": dict(sorted(places.items())), "param_groups": [group]}

    def loaded(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        (group,) = state["param_groups"]
        return {**state, "param_groups": _split(group, apart)}

    optimizer.register_state_dict_post_hook(saved)
    optimizer.register_load_state_dict_pre_hook(loaded)
    _saved_as_one.add(optimizer)
