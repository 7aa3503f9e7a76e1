"""Learning rates, and other numbers of parameter groups, written into PyTorch optimizers and read from them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from glideslope.lr_scheduler.decimals import LARGEST
from glideslope.lr_scheduler.values import choices

if TYPE_CHECKING:
    import torch

_BETAS = {"beta1": 0, "beta2": 1}  # places in the pair that a parameter group of Adam has as `betas`


def write(optimizer: torch.optim.Optimizer, values: Mapping[str, float], groups: Container[int] | None = None) -> None:
    """Set numbers of every parameter group, such as `{"lr": 1e-4, "weight_decay": 1e-2, "beta1": 0.9}`.

    A group's number is the value times what the group has under the key with `_scale` behind it, `lr_scale`, say
    (1 where it has none): `weight_decay_scale: 0` keeps weight decay from biases. A number that is a tensor is
    filled in place, without a device synchronisation, and stays the object that captured graphs hold on to: where
    `load_state_dict` has put another, the first one is put back. (Write once before loading where groups were
    given tensors of their own.)

    Args:
        optimizer: any PyTorch optimizer.
        values: by key of a parameter group; `beta1` and `beta2` are the two numbers of `betas`. Finite and not
            negative.
        groups: indices of the only groups to write to; None for all.

    Raises:
        ValueError: the groups have no such key; or a value, or that times a group's scale, is negative or not finite.
    """
    checked = {key: _checked(optimizer, key, float(value)) for key, value in values.items()}
    for index, group in enumerate(optimizer.param_groups):
        if groups is None or index in groups:
            for key, value in checked.items():
                _write_number(optimizer, index, group, key, value)


def write_lr(optimizer: torch.optim.Optimizer, lr: float, groups: Container[int] | None = None) -> None:
    """Set every parameter group's rate to `lr` times the group's `lr_scale` (1 where it has none); see `write`."""
    write(optimizer, {"lr": lr}, groups)


def read(optimizer: torch.optim.Optimizer, key: str) -> float:
    """Return the number that the optimizer holds, without its scale: that of its first group not scaled by 0.

    Waits for the device where the number is a tensor there.

    Raises:
        ValueError: the groups have no such key, or the scale of every group is 0.
    """
    _require_key(optimizer, key)
    for group in optimizer.param_groups:
        if scale := group.get(f"{key}_scale", 1.0):
            return float(_held(group, key)) / float(scale)
    raise ValueError(f"no parameter group has a {key}_scale other than 0")


def read_lr(optimizer: torch.optim.Optimizer) -> float:
    """Return the rate that the optimizer holds, without `lr_scale`; see `read`."""
    return read(optimizer, "lr")


def _checked(optimizer: torch.optim.Optimizer, key: str, value: float) -> float:
    _require_key(optimizer, key)
    if not 0 <= value <= LARGEST:
        raise ValueError(f"{_named(key)} must be finite and not negative, not {value}")
    return value


def _named(key: str) -> str:
    return "a learning rate" if key == "lr" else key


def _require_key(optimizer: torch.optim.Optimizer, key: str) -> None:
    for group in optimizer.param_groups:
        if not (key in _BETAS and "betas" in group) and not _is_number(group.get(key)):
            known = [name for name, held in group.items() if _is_number(held)]
            known += _BETAS if "betas" in group else ()
            rule = choices(key, known, "numbers of its parameter groups")
            raise ValueError(f"{type(optimizer).__name__} has no {key}; {rule}")


def _is_number(held: object) -> bool:
    return hasattr(held, "__float__") and not isinstance(held, bool)


def _held(group: Mapping[str, Any], key: str) -> Any:
    return group["betas"][_BETAS[key]] if key in _BETAS else group[key]


def _hold(group: dict[str, Any], key: str, number: Any) -> None:
    if key not in _BETAS:
        group[key] = number
    else:
        group["betas"] = tuple(number if place == _BETAS[key] else beta for place, beta in enumerate(group["betas"]))


def _write_number(optimizer: torch.optim.Optimizer, index: int, group: dict[str, Any], key: str, value: float) -> None:
    number = value * float(group.get(f"{key}_scale", 1.0))
    if not 0 <= number <= LARGEST:
        scale = f"{key}_scale {group[f'{key}_scale']}"
        raise ValueError(f"{_named(key)} must be finite and not negative, not {value} times {scale}")
    # The tensor of each group's number, None for a float: not part of the optimizer's copies.
    tensors: dict[tuple[int, str], torch.Tensor | None] = vars(optimizer).setdefault("_scheduled_tensors", {})
    if (index, key) not in tensors:
        tensors[index, key] = _own_tensor(optimizer, group, key, tensors)
    tensor = tensors[index, key]
    if tensor is not None:
        if _held(group, key) is not tensor:
            _hold(group, key, tensor)
        tensor.detach().fill_(number)
    elif type(_held(group, key)) is not float or _held(group, key) != number:
        _hold(group, key, number)


def _own_tensor(
    optimizer: torch.optim.Optimizer,
    group: Mapping[str, Any],
    key: str,
    taken: Mapping[tuple[int, str], torch.Tensor | None],
) -> torch.Tensor | None:
    """Return the tensor that holds this group's number from now on; None for a group whose number is a float."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ImportError("writing rates into an optimizer needs PyTorch: pip install torch") from error

    held, defaults = _held(group, key), optimizer.defaults
    default = _held(defaults, key) if ("betas" if key in _BETAS else key) in defaults else None
    replaced = all(_held(other, key) is not default for other in optimizer.param_groups)
    if isinstance(default, torch.Tensor) and (replaced or not isinstance(held, torch.Tensor)):
        held = default  # what the optimizer was made with, before load_state_dict put something else there
    if not isinstance(held, torch.Tensor):
        return None
    # A tensor given for the whole optimizer is shared by its groups, whose scales may differ.
    return held.detach().clone() if any(held is tensor for tensor in taken.values()) else held
