"""Options: dataclass fields that carry their help, and what makes a command line and a YAML file of them."""

from __future__ import annotations

import argparse
import difflib
import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import yaml

from bt_kernels.trainer.errors import TrainerError


def option(default: Any, help: str, choices: Sequence[str] | None = None, path: bool = False) -> Any:
    """A dataclass field with what ``--help`` says about it; of a ``path``, a leading ~ is the home folder."""
    return field(default=default, metadata={"help": help, "choices": choices, "path": path})


def path_argument(text: str) -> Path:
    """A file or folder on a command line; a shell leaves the ~ of ``--option=~/file`` as it is."""
    return Path(os.path.expanduser(text))


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")


class OptionPart:
    """Base of the frozen dataclasses that a configuration is put together from.

    A part's ``check`` raises for values that the part can judge by itself; a configuration inherits from its
    parts and runs all their checks when it is made.
    """

    def __post_init__(self) -> None:
        for part in reversed(type(self).__mro__):
            if "check" in vars(part):
                part.check(self)  # type: ignore[attr-defined]

    def require(self, valid: bool, name: str, rule: str) -> None:
        """Raise TrainerError, naming the option, unless ``valid``."""
        if not valid:
            raise TrainerError(f"{flag(name)} must be {rule}, got {shown(getattr(self, name))}")

    def require_at_least(self, least: int, *names: str) -> None:
        """Raise TrainerError unless the named options are ``least`` or more."""
        for name in names:
            self.require(getattr(self, name) >= least, name, f"at least {least}")

    def require_finite(self, *names: str, positive: bool = False) -> None:
        """Raise TrainerError unless the named options are finite numbers >= 0, or > 0 if ``positive``."""
        for name in names:
            value = getattr(self, name)
            valid = math.isfinite(value) and (value > 0 or (value == 0 and not positive))
            self.require(valid, name, f"a finite number {'greater than 0' if positive else '>= 0'}")

    def require_choice(self, *names: str) -> None:
        """Raise TrainerError unless the named options are among their choices."""
        for entry in fields(self):  # type: ignore[arg-type]
            if entry.name in names:
                choices, value = entry.metadata["choices"], getattr(self, entry.name)
                if value not in choices:
                    raise TrainerError(f"{flag(entry.name)} {not_among(value, choices)}")

    def require_probabilities(self, name: str, count: int) -> None:
        """Raise TrainerError unless the named option holds ``count`` numbers in [0, 1]."""
        values = getattr(self, name)
        valid = len(values) == count and all(0 <= value <= 1 for value in values)
        self.require(valid, name, f"{count} probabilities joined by commas" if count > 1 else "in [0, 1]")

    def as_dict(self) -> dict[str, Any]:
        """All options as plain values, for JSON, YAML and the checkpoint; tuples as lists."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()  # type: ignore[call-overload]
        }


def shown(value: Any) -> str:
    """An option's value as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)


def did_you_mean(name: Any, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: the one that is most like it, if any is."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def not_among(value: Any, choices: Sequence[str]) -> str:
    """What there is to say of a value that is none of the choices, without the name of its option."""
    return f"must be one of {', '.join(choices)}, got {value!r}{did_you_mean(value, choices)}"


class OptionParser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, with the right name of what was mistyped."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        # Here, where the parser is that of the command, which has the options to suggest from.
        if unknown:
            options = [name.partition("=")[0] for name in unknown if name.startswith("-")]
            if not options:
                self.error(f"{unknown[0]} belongs to no option; --help names them all")
            suggestion = did_you_mean(options[0], self._option_string_actions)
            self.error(f"there is no option {options[0]}{suggestion or '; --help names them all'}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = "/".join(action.option_strings) or action.dest
            self.error(f"{name} {not_among(value, list(action.choices))}")


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers joined by commas."""
    return tuple(float(part) for part in text.split(","))


def add_options(
    parser: argparse.ArgumentParser, options: type[OptionPart], defaults: Mapping[str, Any] | None = None
) -> None:
    """Add one command-line option for every field of ``options``, in groups by the part that defines it.

    Options that are not given are left out of the parsed result.

    Args:
        parser: Gets the options.
        options: The configuration's class.
        defaults: What to name as the default where it is not the field's own.
    """
    types = get_type_hints(options)
    groups: dict[type, Any] = {}
    for entry in fields(options):  # type: ignore[arg-type]
        part = next(base for base in options.__mro__ if entry.name in inspect.get_annotations(base))
        if part not in groups:
            groups[part] = parser.add_argument_group(str(part.__doc__).partition("\n")[0].rstrip("."))
        kind, choices = types[entry.name], entry.metadata["choices"]
        default = (defaults or {}).get(entry.name, entry.default)
        default = shown(default) if isinstance(default, tuple) else default
        keywords: dict[str, Any] = {
            "help": f"{entry.metadata['help']} (default: {default})".replace("%", "%%"),
            "default": argparse.SUPPRESS,
        }
        if kind is bool:
            keywords["action"] = argparse.BooleanOptionalAction
        elif entry.metadata["path"]:
            keywords |= {"type": os.path.expanduser, "metavar": "PATH"}
        elif kind in (int, float, str):
            keywords |= {"type": kind, "choices": choices, "metavar": None if choices else kind.__name__.upper()}
        else:
            keywords |= {"type": numbers, "metavar": "NUMBERS"}
        groups[part].add_argument(flag(entry.name), **keywords)


def read_yaml(path: Path, options: type[OptionPart], also: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return the options that a YAML file sets, under their Python names and with their types.

    Args:
        path: A mapping of option names, with hyphens or underscores, to values.
        options: The configuration's class.
        also: Further names that the file may hold, with their types.

    Raises:
        TrainerError: the file cannot be read, holds no mapping, an unknown option or a value of the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise TrainerError(f"{path} must map options to values, such as 'epochs: 100'")
    types = get_type_hints(options)
    kinds = {entry.name: types[entry.name] for entry in fields(options)}  # type: ignore[arg-type]
    paths = {entry.name for entry in fields(options) if entry.metadata["path"]}  # type: ignore[arg-type]
    kinds |= dict(also or {})
    values = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in kinds:
            raise TrainerError(f"{path} sets {key!r}, which is no option{did_you_mean(name, kinds)}")
        values[name] = typed(value, kinds[name], f"{flag(name)} in {path}")
        if name in paths:
            values[name] = os.path.expanduser(values[name])
    return values


def typed(value: Any, kind: Any, name: str) -> Any:
    """Return ``value`` as an option of the type ``kind``; ``name`` is for the error.

    Raises:
        TrainerError: it has another type.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3, without a point, as a string
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and number:
        return float(value)
    if kind is str and number:  # 'warmup: 10'
        return str(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind not in (int, float, str, bool) and isinstance(value, (list, tuple)):
        return tuple(typed(part, float, name) for part in value)
    wanted = _KINDS.get(kind, "a list of numbers, such as [0.4, 0.1]")
    raise TrainerError(f"{name} must be {wanted}, got {_in_yaml(value)}")


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _in_yaml(value: Any) -> str:
    """A value on one line, as a YAML file would have it."""
    if value is None:
        return "nothing"
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n")
    return " ".join(text.split())
