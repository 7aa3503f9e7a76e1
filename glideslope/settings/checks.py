"""Checked settings: the base class, the kinds of values, and how faults are told to the user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from glideslope.errors import UNSET, Fault, SettingsError, listed, meant, typed, unknown
from glideslope.lr_scheduler.decimals import FACTORS, LONGEST_RUN, finite, read_number

# --- Values ---------------------------------------------------------------------------------------


def _number(value: object) -> float:
    return float(finite(value, "must be a number")[0])


def _whole(value: object, units: str = "") -> int:
    number, unit = read_number(value, units) or (Fraction(1, 2), "")
    number *= FACTORS[unit]
    if number.denominator != 1:
        raise ValueError(f"must be a whole number{', such as 3000000, 3.0e6, 500k or 3M' if units else ''}")
    return int(number)


def _frames(value: object) -> int:
    return _whole(value, "kKM")


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        near = "; did you mean cuda?" if "gpu" in value.lower() else meant(value, ("auto", "cpu", "cuda"))
        rule = f"must be auto, cpu, cuda or cuda:N{near}"
        raise ValueError(rule)
    return value


def _stage_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value) or value.isdecimal() or value == "all":
        rule = "must be 1 to 40 letters, digits, '_', '-' or '.', not a number and not 'all'"
        raise ValueError(rule)
    return value


def _stage_choice(value: object) -> int | str:
    if isinstance(value, str) and not value.strip().isdecimal():
        return value
    try:
        number = _whole(value)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError("must be the index or the name of a stage, or all")
    return number


Real = Annotated[float, BeforeValidator(_number)]
NonNegative = Annotated[Real, Field(ge=0)]
Positive = Annotated[Real, Field(gt=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
PositiveShare = Annotated[Real, Field(gt=0, le=1)]
Rate = Annotated[Real, Field(ge=0, le=1)]
Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=2**31 - 1)]
Frames = Annotated[int, BeforeValidator(_frames), Field(ge=0, le=LONGEST_RUN)]
SomeFrames = Annotated[int, BeforeValidator(_frames), Field(ge=1, le=LONGEST_RUN)]
EnvCount = Annotated[Count, Field(le=65536)]
Threads = Annotated[Whole, Field(le=4096)]
Seed = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2**32 - 1)]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict()]
Device = Annotated[Text, AfterValidator(_device)]
StageChoice = Annotated[int | str, BeforeValidator(_stage_choice)]
StageName = Annotated[Text, AfterValidator(_stage_name)]


# --- The base of all settings ---------------------------------------------------------------------


class Broken(NamedTuple):
    """A broken rule between fields."""

    key: str  # the dotted path of the value to blame, below the settings that state the rule
    rule: str  # what the value must be
    value: object
    reads: tuple[str, ...] = ()  # the dotted paths of the other values that the rule looks at


_Path = tuple[str | int, ...]


class CheckedSettings(BaseModel):
    """Base of all settings: frozen; unknown keys, NaN and infinite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], key: str = "") -> Self:
        """Return the settings of a plain mapping (of mappings, lists, numbers, text, booleans and None).

        `key` is the name of these settings for messages.

        Raises:
            SettingsError: with every fault of the mapping.
        """
        plain = _copy(config)
        faults: list[Fault] = []
        faulty: list[_Path] = []
        while True:
            try:
                settings = cls.model_validate(plain)
            except ValidationError as error:
                new_faults, new_faulty = _report(cls, error, key, faulty)
            else:
                if faults:
                    raise SettingsError(faults, settings)
                return settings
            if not new_faults:
                raise SettingsError(faults)
            # Rules between fields are not reached while a field is at fault: look again, with defaults there.
            for path in new_faulty:
                _remove(plain, path)
            faults += new_faults
            faulty += new_faulty

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as a plain mapping, which `from_config` and YAML understand."""
        return self.model_dump(mode="json")

    def broken_rules(self) -> Iterator[Broken]:
        """Yield the rules between fields that are broken."""
        return iter(())

    @model_validator(mode="after")
    def _check(self) -> Self:
        errors = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "rule", "{rule}", {"rule": broken.rule, "key": broken.key, "reads": broken.reads}
                ),
                loc=_parts(broken.key),
                input=broken.value,
            )
            for broken in self.broken_rules()
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self


def _parts(key: str) -> _Path:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _remove(config: Any, path: _Path) -> None:
    """Remove the value at `path`; of an item the whole list, as only that has a default."""
    holder: dict[str, Any] = {}
    name, node = "", config
    for part in path:
        if isinstance(node, dict) and isinstance(part, str):
            holder, name, node = node, part, node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            break
    holder.pop(name, None)


def _report(
    model: type[CheckedSettings], error: ValidationError, key: str, known: Sequence[_Path] = ()
) -> tuple[list[Fault], list[_Path]]:
    """Return the faults that `error` reports, without those that involve `known` paths, and the paths involved."""
    faults: list[Fault] = []
    paths: list[_Path] = []
    for item in _distinct(error.errors(include_url=False)):
        path, owner, kind, kin = _place(model, item["loc"])
        context = item.get("ctx", {})
        involved = [path]
        if item["type"].startswith("union_tag"):
            path = (*path, "name")
        if item["type"] == "rule":
            above = path[: len(path) - len(_parts(context["key"]))]
            involved += [(*above, *_parts(read)) for read in context["reads"]]
        if any(_overlap(one, other) for one in involved for other in known):
            continue
        absent = item["type"] in ("missing", "union_tag_not_found")
        shown = UNSET if absent else context.get("tag", item["input"])
        full_key = ".".join(map(str, (key, *path) if key else path)) or "the configuration"
        faults.append(Fault(full_key, shown, _rule(item, path, owner, kind, kin)))
        paths += involved
    return faults, paths


def _distinct(items: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors without those of lists that are too short only because of their items' own faults."""
    faulty = [item["loc"] for item in items]
    return [
        item
        for item in items
        if item["type"] != "too_short" or not any(at[: len(item["loc"])] == item["loc"] != at for at in faulty)
    ]


def _overlap(one: _Path, other: _Path) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _place(model: type[CheckedSettings], location: tuple[int | str, ...]) -> tuple[_Path, Any, Any, list[Any]]:
    """Return what a location of pydantic's stands for.

    Pydantic's locations name the members of unions, which the configuration does not.

    Returns:
        The path in the configuration, the settings that hold its last part (None where unknown), the annotation
        there, and the other members of the union that those settings belong to.
    """
    path: list[int | str] = []
    owner: Any = None
    kin: list[Any] = []
    here: Any = model
    for part in location:
        members = [m for m in get_args(here) if _is_settings(m)] if get_origin(here) is not tuple else []
        if len(members) > 1:
            kin = members
            named = [m for m in members if part in _names(m)]
            here = next(iter(named or [m for m in members if part in m.model_fields]), None)
            if named:
                continue  # a rule's own key names no member
        path.append(part)
        owner = here if _is_settings(here) else None
        if owner is not None:
            field = owner.model_fields.get(str(part))
            here = None if field is None else field.annotation
        else:
            here = next(iter(get_args(here)), None)
    return tuple(path), owner, here, [member for member in kin if owner in kin and member is not owner]


def _is_of_any_length(annotation: Any) -> bool:
    """Return whether a list may have one item: tuple[X, ...], also within a union, and not a pair."""
    parts = get_args(annotation)
    return ... in parts or any(_is_of_any_length(part) for part in parts)


def _names(member: Any) -> list[str]:
    """Return what a member of a union is chosen by; nothing of settings that are not in a union."""
    name = member.model_fields.get("name")
    return [] if name is None else list(get_args(name.annotation))


def choices(annotation: Any) -> list[str]:
    """Return the values that an annotation allows: those of a Literal in it, or the names of a union's members."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if _is_settings(annotation):
        return _names(annotation)
    return [choice for part in get_args(annotation) for choice in choices(part)]


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, CheckedSettings)


def flat_settings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each setting; a list is one value."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flat_settings(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_KINDS = {
    "missing": "is missing",
    "union_tag_not_found": "is missing",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "bool_type": "must be true or false",
    "string_type": "must be text",
}


def _rule(item: ErrorDetails, path: _Path, owner: Any, annotation: Any, kin: Sequence[Any]) -> str:
    """Return what is wrong, in the words of a configuration file."""
    kind, context = item["type"], item.get("ctx", {})
    if kind == "rule":
        return str(context["rule"])
    if kind == "extra_forbidden":
        having = [name for other in kin if path[-1] in other.model_fields for name in _names(other)]
        if having:
            those = f"{listed(having, 'and')} {'have' if len(having) > 1 else 'has'} it"
            return f"unknown key of {listed(_names(owner))}; {those}"
        return unknown(path[-1], "key", list(owner.model_fields))
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"must be {words} {context[name]:.15g}"
    if kind in ("literal_error", "union_tag_invalid"):
        options = choices(annotation)
        return f"must be {listed(options)}{meant(context.get('tag', item['input']), options)}"
    if kind in ("too_short", "too_long"):
        words, number = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        return f"must have at {words} {context[number]} of them, not {context['actual_length']}"
    if kind == "value_error":
        return str(context["error"])
    if kind in ("tuple_type", "list_type"):
        if isinstance(item["input"], str | int | float) and _is_of_any_length(annotation):
            return f"must be a list, written [{typed(item['input'])}]"
        return "must be a list"
    return _KINDS.get(kind, item["msg"])
