"""Name → class, options → instance, with "did you mean …?".

A component (decoder, model) is a dataclass whose fields are its options; its table names where it lives, so
that nothing is imported before it is used. `name` in a table line is what people write in the settings.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
Made = TypeVar("Made", covariant=True)


class PlugIn(Protocol[Made]):
    """Components that are in no table: another library's."""

    def names(self) -> Sequence[str]:
        """What people write. Raises ValueError where the library is missing."""
        ...

    def options_of(self, name: str) -> Sequence[str]:
        """The options of one that there is."""
        ...

    def create(self, name: str, options: Mapping[str, Any]) -> Made:
        """An instance. Raises ValueError with one line for each wrong option."""
        ...


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to a message, or nothing.

    >>> did_you_mean("kafak", ["kafka", "mqtt"])
    ' (did you mean "kafka"?)'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""


class Registry(Generic[T]):
    """The components of one sort.

    table: name → "module:Class"; what: the sort, for messages ("decoder", "model"); names_only: check no
    options, so that nothing is imported (a gateway checks the names of models, but never loads one).
    plug_ins: by how their names begin, made when first needed; nothing of theirs is checked with names_only.
    """

    def __init__(
        self,
        what: str,
        table: Mapping[str, str],
        *,
        names_only: bool = False,
        plug_ins: Mapping[str, Callable[[], PlugIn[T]]] | None = None,
    ) -> None:
        self.what = what
        self.table = dict(table)
        self._names_only = names_only
        self._plug_ins = dict(plug_ins or {})
        self._plugged_in: dict[str, PlugIn[T]] = {}
        self._adapters: dict[str, TypeAdapter[T]] = {}

    def problems(self, name: str, options: Mapping[str, Any] | None = None) -> list[str]:
        """What is wrong with a name and its options; empty if `create` will succeed.

        With `options=None` only the name is checked, and nothing is imported; with options only they are, so
        that a wrong name is reported once.
        """
        prefix = next((one for one in self._plug_ins if name.startswith(one)), None)
        if prefix is not None and self._names_only:
            return []
        try:
            names = self.table if prefix is None else self._plug_in(prefix).names()
        except ValueError as error:
            return [f"{self.what} {name}: {error}"] if options is None else []
        if name not in names:
            known = ", ".join(sorted(names)) + "".join(f", {one}…" for one in self._plug_ins if prefix is None)
            hint = did_you_mean(name, names)
            return [f"no {self.what} is called {name!r}{hint}; there are: {known}"] if options is None else []
        if options is None or self._names_only:
            return []
        try:
            self.create(name, options)
        except ValueError as error:
            return [f"{self.what} {name}: {line}" for line in str(error).splitlines()]
        return []

    def load(self, name: str) -> type[T]:
        """The class behind a name. Raises ValueError for an unknown one."""
        if found := self.problems(name):
            raise ValueError(found[0])
        module, _, attribute = self.table[name].partition(":")
        cls: type[T] = getattr(import_module(module), attribute)
        return cls

    def create(self, name: str, options: Mapping[str, Any]) -> T:
        """An instance. Raises ValueError with one line for each wrong option."""
        for prefix in self._plug_ins:
            if name.startswith(prefix):
                return self._create_plugged_in(prefix, name, options)
        cls = self.load(name)
        known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
        unknown = [f"no option {key!r}{did_you_mean(key, known)}" for key in options if key not in known]
        if unknown:
            raise ValueError("\n".join(unknown))
        try:
            made = self._adapter(name, cls).validate_python(dict(options))
        except OverflowError as error:
            raise ValueError(f"options: a number is too large: {error}") from error
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            ]
            raise ValueError("\n".join(lines)) from error
        # Integers have no end in Python, nor in its TOML; what components make of them has.
        if large := [key for key in known if _is_large(getattr(made, key))]:
            raise ValueError("\n".join(f"{key}: should fit into 64 bits" for key in large))
        return made

    def _plug_in(self, prefix: str) -> PlugIn[T]:
        if prefix not in self._plugged_in:
            self._plugged_in[prefix] = self._plug_ins[prefix]()
        return self._plugged_in[prefix]

    def _create_plugged_in(self, prefix: str, name: str, options: Mapping[str, Any]) -> T:
        if found := self.problems(name):
            raise ValueError(found[0])
        plug_in = self._plug_in(prefix)
        known = plug_in.options_of(name)
        problems = [f"no option {key!r}{did_you_mean(key, known)}" for key in options if key not in known]
        try:
            made = plug_in.create(name, {key: value for key, value in options.items() if key in known})
        except ValueError as error:
            problems += str(error).splitlines()
        if problems:
            raise ValueError("\n".join(problems))
        return made

    def _adapter(self, name: str, cls: type[T]) -> TypeAdapter[T]:
        # It takes milliseconds to build.
        if name not in self._adapters:
            self._adapters[name] = TypeAdapter(cls)
        return self._adapters[name]


def _is_large(value: object) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63
