"""A flag for each property of an object, made of the classes of the policy, with their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lockgate.cli.objects import Properties, Shaped, parameters_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lockgate.policy.catalog import Catalog

_GIVEN = "property_"
"""What the names of our parameters begin with: some properties are called as Python's own words are."""
_ON, _ON_OR_OFF = "yes", "yes|no"


class Flag(NamedTuple):
    """One property. `form` is what stands for its value in the help, `listed` may be repeated.

    The form of a switch is its words: "yes" where it can only be switched on, "yes|no" where off as well.
    """

    key: str
    help: str
    form: str
    listed: bool = False
    hidden: bool = False

    @property
    def switch(self) -> bool:
        """Whether no value follows."""
        return self.form in {_ON, _ON_OR_OFF}


def flagged(*tables: str) -> Callable[[Callable[..., None]], Shaped]:
    """Give a command that takes `properties` of objects of these tables a flag for each of them.

    They are made when somebody looks at them and not before, because that loads what documents are made of.
    """

    def shaped(command: Callable[..., None]) -> Shaped:
        def run(*, properties: Properties = None, **given: Any) -> None:
            texts = [*(properties or ())]
            for name in [name for name in given if name.startswith(_GIVEN)]:
                key, value = name.removeprefix(_GIVEN), given.pop(name)
                texts += [f"{key}={text}" for text in _texts(value)]
            command(properties=texts, **given)

        return Shaped(command, run, lambda: [*parameters_of(command), *map(_parameter, flags_of(*tables))])

    return shaped


def flags_of(*tables: str, catalog: Catalog | None = None) -> Sequence[Flag]:
    """A flag for each property of the objects of these tables, but for those that commands have a place for already."""
    from lockgate.policy.catalog import standard
    from lockgate.policy.documents import model_of, name_key

    found: dict[str, list[tuple[str, Flag]]] = {}
    for table in tables:
        model = model_of(table, catalog or standard())
        for key in model.model_fields:
            if key not in {name_key(table), "organisation"}:
                found.setdefault(key, []).append((table, _flag(model, key)))
    return tuple(_of_all(flags, len(tables)) for flags in found.values())


def _of_all(flags: Sequence[tuple[str, Flag]], tables: int) -> Flag:
    """One flag for a property that the objects of one or more of so many tables have."""
    first = flags[0][1]
    said = dict.fromkeys(flag.help for _, flag in flags)
    if len(flags) == tables and len(said) == 1:
        meaning = first.help
    else:
        meaning = " ".join(f"{table.replace('_', ' ').capitalize()}s: {flag.help}" for table, flag in flags)
    forms = "|".join(flag.form for _, flag in flags)
    return first._replace(help=meaning, form="|".join(dict.fromkeys(forms.split("|"))))


def _flag(model: type[BaseModel], key: str) -> Flag:
    from lockgate.policy.catalog import EXCEPTION
    from lockgate.policy.values import Kind, as_toml, choices, kind_of

    kind, info = kind_of(model, key), model.model_fields[key]
    forms = {Kind.NUMBER: "NUMBER", Kind.TABLE: "{...}", Kind.TABLES: "{...}", Kind.MOMENT: "TIME"}
    words = choices(model, key)
    form = "|".join(str(word) for word in words if word != "") or forms.get(kind, "TEXT")
    if kind is Kind.SWITCH:
        form = _ON if words == (True,) else _ON_OR_OFF
    meaning = f"{(info.description or '').rstrip('.')}."
    listed = kind in {Kind.LIST, Kind.TABLES}
    if listed:
        meaning += " Repeatable."
    match kind, info.examples:
        case (Kind.TABLES, [[example, *_], *_]) | (Kind.TABLE, [example, *_]):
            meaning += f" For example {as_toml(example)}"
        case Kind.MOMENT, [example, *_]:
            meaning += f" For example {example}"
    return Flag(key, meaning, form, listed, key.startswith(EXCEPTION))


def _parameter(flag: Flag) -> inspect.Parameter:
    word = "--" + flag.key.replace("_", "-")
    kind: Any = list[str] | None if flag.listed else str | None
    option = typer.Option(word, help=flag.help, metavar=flag.form, hidden=flag.hidden, show_default=False)
    if flag.switch:
        kind = bool | None
        spelling = word if flag.form == _ON else f"{word}/--no-{word[2:]}"
        option = typer.Option(spelling, help=flag.help, hidden=flag.hidden, show_default=False)
    return inspect.Parameter(
        _GIVEN + flag.key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _texts(value: Any) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return ["true" if value else "false"]
        case list():
            return value
        case _:
            return [value]
