"""Writes the reference of docs/library.md from the docstrings of the library: python -m tools.library_reference."""

from __future__ import annotations

import inspect
from pathlib import Path

from glideslope import lr_scheduler
from glideslope.lr_scheduler.stable_baselines3 import use_schedules
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
BEGIN = "<!-- From the docstrings, by: python -m tools.library_reference -->\n"


def reference() -> str:
    """Return the reference: each public name with its signature and docstring."""
    parts = [_entry(name, getattr(lr_scheduler, name), "") for name in lr_scheduler.__all__]
    parts.append(_entry("ScheduledLR", ScheduledLR, "torch_scheduler."))
    parts.append(_entry("use_schedules", use_schedules, "stable_baselines3."))
    return "\n".join(parts)


def _entry(name: str, member: object, module: str) -> str:
    if not callable(member):
        shown = ", ".join(map(str, member)) if isinstance(member, tuple | dict) else repr(member)
        return f"### `{name}`\n\n```text\n{shown}\n```\n"
    lines = [f"{name}{_signature(member)}", "", inspect.getdoc(member) or ""]
    if inspect.isclass(member) and not issubclass(member, Exception):
        for method, function in vars(member).items():
            if callable(function) and not method.startswith("_") and inspect.getdoc(function):
                lines += ["", f".{method}{_signature(function)}", "", inspect.getdoc(function) or ""]
            elif isinstance(function, property):
                lines += ["", f".{method}", "", inspect.getdoc(function) or ""]
        if "__call__" in vars(member):
            lines += ["", f"(){_signature(member.__call__)}", "", inspect.getdoc(member.__call__) or ""]
    text = "\n".join(lines)
    return f"### `{module}{name}`\n\n```text\n{text}\n```\n"


def _signature(member: object) -> str:
    signature = inspect.signature(member)  # type: ignore[arg-type]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def written(page: str) -> str:
    """Return the page with its reference as the docstrings have it."""
    return page[: page.index(BEGIN)] + BEGIN + "\n" + reference()


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
