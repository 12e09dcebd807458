"""What a class of settings declares, and which values fit it.

    class HostSettings(Settings):
        threads: Annotated[int, Bounds(at_least=0, at_most=256)] = 0
        \"\"\"Slow models run at once. 0: as many as this process has CPUs.\"\"\"

A subclass of `Settings` is a frozen dataclass whose values are checked however it is made. Types are those that a
command line and a TOML file can give: str, int, float, bool, Path, a Literal of words, a tuple of strings, and any of
them or None. Text is read as the type that is asked for. The docstring of an attribute is its help text.

There are libraries for this. The one that everybody knows takes 10 MB and a tenth of a second in each of the
platform's processes, of which an edge server runs dozens.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform, get_args, get_origin, get_type_hints

REQUIRED = MISSING
"""Default of a setting that must be given."""

_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Unfit(ValueError):
    """A value that does not fit its setting. name: of the setting; empty: it is several that do not fit together."""

    def __init__(self, name: str, given: object, why: str) -> None:
        super().__init__(why)
        self.name = name
        self.given = given


@dataclass(frozen=True, slots=True)
class Positional:
    """Marks a setting that is given without its flag: `model: Annotated[Path | None, Positional()] = None`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number must be."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def words(self) -> list[str]:
        """Such as `at least 0`."""
        named = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        return [f"{word} {bound:g}" for word, bound in named.items() if bound is not None]

    def check(self, value: float) -> None:
        """Raises: ValueError."""
        too_low = (self.above is not None and value <= self.above) or (
            self.at_least is not None and value < self.at_least
        )
        if too_low or (self.at_most is not None and value > self.at_most):
            raise ValueError(f"it must be {' and '.join(self.words())}")


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule of its own. check: raises ValueError."""

    check: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One declared setting."""

    name: str
    kind: type
    """str, int, float, bool or Path; of a list: of its items."""
    default: Any
    is_list: bool = False
    is_optional: bool = False
    choices: tuple[str, ...] = ()
    marks: tuple[Any, ...] = ()

    @property
    def is_required(self) -> bool:
        return self.default is REQUIRED

    @property
    def is_positional(self) -> bool:
        return any(isinstance(mark, Positional) for mark in self.marks)

    @property
    def bounds(self) -> list[str]:
        return [word for mark in self.marks if isinstance(mark, Bounds) for word in mark.words()]

    def read(self, given: Any) -> Any:
        """The value. Raises: Unfit."""
        try:
            value = self._typed(given)
            for mark in self.marks:
                if isinstance(mark, Bounds | Checked) and value is not None:
                    mark.check(value)
        except ValueError as error:
            raise Unfit(self.name, given, str(error)) from None
        return value

    def _typed(self, given: Any) -> Any:
        if given is None and self.is_optional:
            return None
        if self.is_list:
            if not isinstance(given, list | tuple):
                raise ValueError("it must be a list")
            return tuple(_READERS[self.kind](item) for item in given)
        if self.choices and given not in self.choices:
            raise ValueError(f"it must be {_listed(self.choices)}")
        return _READERS[self.kind](given)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Settings:
    """Base of all settings. Raises: Unfit, from its constructor."""

    _declared: ClassVar[Mapping[str, Setting]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)
        hints, fields = get_type_hints(cls, include_extras=True), dataclass_fields(cls)  # type: ignore[arg-type]
        cls._declared = {field.name: _setting(field.name, hints[field.name], field.default) for field in fields}

    def __post_init__(self) -> None:
        for setting in declared(type(self)).values():
            object.__setattr__(self, setting.name, setting.read(getattr(self, setting.name)))
        try:
            self.check()
        except ValueError as error:
            raise Unfit("", None, str(error)) from None

    def check(self) -> None:
        """For rules over several settings. Raises: ValueError."""


def declared(kind: type[Settings]) -> Mapping[str, Setting]:
    """By name, in the order in which they are declared."""
    return kind._declared


def meanings(kind: type[Settings]) -> Mapping[str, str]:
    """Docstrings of the attributes, which Python does not keep: they are read from the source."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__[: kind.__mro__.index(Settings)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _setting(name: str, hint: Any, default: Any) -> Setting:
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        marks = tuple(rest)
    is_optional = get_origin(hint) is UnionType
    if is_optional:
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return Setting(name, str, default, is_optional=is_optional, choices=get_args(hint), marks=marks)
    is_list = get_origin(hint) is tuple
    kind = get_args(hint)[0] if is_list else hint
    assert kind in _READERS, f"{name}: settings cannot be of type {hint}"
    return Setting(name, kind, default, is_list=is_list, is_optional=is_optional, marks=marks)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError("it must be text")
    return given


def _whole(given: Any) -> int:
    try:
        if isinstance(given, int | str) and not isinstance(given, bool):
            return int(given)
    except ValueError:
        pass
    raise ValueError("it must be a whole number")


def _number(given: Any) -> float:
    try:
        if isinstance(given, int | float | str) and not isinstance(given, bool):
            return float(given)
    except ValueError:
        pass
    raise ValueError("it must be a number")


def _flag(given: Any) -> bool:
    value = given if isinstance(given, bool) else _FLAGS.get(str(given).lower())
    if value is None:
        raise ValueError("it must be true or false")
    return value


def _path(given: Any) -> Path:
    if not isinstance(given, str | Path):
        raise ValueError("it must be a path")
    return Path(given)


_READERS: Mapping[type, Callable[[Any], Any]] = {str: _text, int: _whole, float: _number, bool: _flag, Path: _path}


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
