"""YAML files as people write them: numbers are decimal, and everything else that is no number stays text.

YAML 1.1, which PyYAML follows, reads 0500000 as octal, 1:30 as sexagesimal, 0x10 as hexadecimal, 2026-01-01 as a date
and `no` as false. Here a plain scalar means what it means on the command line: 1_000 and 1e-4 are numbers, true, false
and null are themselves, and the rest is text, which the settings accept (0500000 is 500,000) or refuse by name.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

from glideslope.errors import UserError

_TAG = "tag:yaml.org,2002:"
_DIGITS = r"(?:0|[1-9](?:_?[0-9])*)"
_EXPONENT = r"[eE][-+]?[0-9]+"
# As in Hydra's grammar of overrides, so that a value means the same in a file and on the command line.
_INT = re.compile(rf"[-+]?{_DIGITS}\Z")
_FLOAT = re.compile(
    rf"[-+]?(?:{_DIGITS}\.(?:[0-9](?:_?[0-9])*)?(?:{_EXPONENT})?|\.[0-9](?:_?[0-9])*(?:{_EXPONENT})?"
    rf"|{_DIGITS}{_EXPONENT})\Z"
)
_BOOL = re.compile(r"(?:true|false)\Z", re.IGNORECASE)
_NULL = re.compile(r"(?:null|~|)\Z", re.IGNORECASE)
_MERGE = re.compile(r"<<\Z")
_BY_BYTE_ORDER_MARK = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class YamlError(UserError):
    """A YAML file that can't be used; the message says what is wrong and in which line, but not in which file."""


def decode_text(content: bytes) -> str:
    """Return the text of a file: UTF-8, or what its byte-order mark says.

    Raises:
        YamlError: it is not text of that encoding.
    """
    encoding = next((name for mark, name in _BY_BYTE_ORDER_MARK if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise YamlError(f"line {line}: is not {encoding.upper()[:6]} text; save the file as UTF-8") from error


def parse_yaml(text: str) -> Any:
    """Return the plain data that a YAML text holds: None where it holds nothing.

    Raises:
        YamlError: it is malformed, or a key has no value, is not text or is there twice.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(error.problem or error.context)
        if r"'\t'" in problem:
            problem = "has a tab; indent with spaces"
        raise YamlError(f"{where}{problem}") from error
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise YamlError("is nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """Return what the YAML file at `path` holds, as `parse_yaml` does.

    Raises:
        OSError: it can't be read.
        YamlError: it is malformed.
    """
    return parse_yaml(decode_text(path.read_bytes()))


def dump_yaml(value: Any, *, width: int = 80) -> str:
    """Return plain data as YAML that `parse_yaml`, and any other reader, reads back as it is."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width, line_break="\n"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Builds text, numbers, booleans, null, lists and mappings; no other tag is known."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}
    yaml_multi_constructors: ClassVar[dict[str, Any]] = {}

    def _number(self, node: yaml.ScalarNode) -> int | float:
        text = self.construct_scalar(node)
        try:
            if _INT.match(text):
                return int(text)
            if _FLOAT.match(text):
                return float(text)
            problem = "is not a decimal number"  # tagged !!int or !!float by hand
        except ValueError:
            problem = "has too many digits"
        raise yaml.constructor.ConstructorError(None, None, f"{text[:40]} {problem}", node.start_mark)

    def _bool(self, node: yaml.ScalarNode) -> bool:
        return bool(self.construct_scalar(node).lower() == "true")

    def _null(self, node: yaml.ScalarNode) -> None:
        return None

    def _text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))

    def _list(self, node: yaml.SequenceNode) -> list[Any]:
        return list(self.construct_sequence(node, deep=True))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        self._check_keys(node)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, value in node.value:
            problem = None
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be text"
            elif key.value in seen:
                problem = f"{key.value} is there twice"
            elif value.tag == f"{_TAG}null" and value.value == "" and value.style is None:
                problem = f"{key.value} has no value; write {key.value}: null if none is meant"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)

    def _unknown(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_TAG, "!!")
        raise yaml.constructor.ConstructorError(None, None, f"unknown tag {tag}", node.start_mark)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes text that YAML 1.1 or `_Loader` would read as something else, and writes no anchors."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: list(resolvers) for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def _text(self, data: str) -> yaml.ScalarNode:
        # Within single quotes a reader would fold these line breaks to blanks.
        style = '"' if re.search("[\x85\u2028\u2029\ufeff]", data) else None
        return self.represent_scalar(f"{_TAG}str", data, style=style)


def _teach() -> None:
    for kind, pattern, first, construct in (
        ("bool", _BOOL, "tTfF", _Loader._bool),
        ("null", _NULL, ["~", "n", "N", ""], _Loader._null),
        ("int", _INT, "-+0123456789", _Loader._number),
        ("float", _FLOAT, "-+0123456789.", _Loader._number),
    ):
        for kinds in (_Loader, _Dumper):
            kinds.add_implicit_resolver(_TAG + kind, pattern, list(first))
        _Loader.add_constructor(_TAG + kind, construct)
    _Loader.add_implicit_resolver(f"{_TAG}merge", _MERGE, ["<"])
    for kind, read in (("str", _Loader._text), ("seq", _Loader._list), ("map", _Loader._mapping)):
        _Loader.add_constructor(_TAG + kind, read)
    _Loader.add_constructor(None, _Loader._unknown)
    _Dumper.add_representer(str, _Dumper._text)


_teach()
