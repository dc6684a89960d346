"""The manual of policy documents, made of the models, so that it says what the program does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

from lockgate.policy.catalog import EXCEPTION, GROUPS, GROUPS_EXAMPLE, GROUPS_HELP, Catalog, standard
from lockgate.policy.documents import TABLES, model_of
from lockgate.policy.kinds import Kind as RuleKind
from lockgate.policy.objects.peers import Limits
from lockgate.policy.objects.remote_domains import CARRIED
from lockgate.policy.objects.rules import DEEPEST_GROUP, MOST_GROUPS, MailFlowRule
from lockgate.policy.text import MOST_WIDE, MOST_WIDE_ENDLESS
from lockgate.policy.values import Kind, as_toml, choices, kind_of

HEAD = """\
# Policy documents

This page is printed by `lockgate reference`; a test compares the two.

A policy is a folder of TOML files; how they are divided into files does not matter. Every object is a table of an
array, `[[table]]`; what the operator lays down for everybody is the one table `[operator]`. Unknown keys are mistakes,
told with file, line and path. Where there is one organisation, `organisation` may be left out. Secrets are never
written here, only where they are kept: `file:/path` or `env:NAME`. Times are seconds or `"90s"`, `"15m"`, `"24h"`,
`"2d"`; sizes are octets or `"64KB"`, `"25MB"`. How documents are checked, planned, applied and undone stands in
[operations](operations.md).
"""

RULES_HEAD = f"""\
# Mail flow rules

This page is printed by `lockgate reference rules`; a test compares the two. How rules are written and published stands
in [operations](operations.md), how a rule is tried on a message in [explain](explain.md), how a new kind of condition
is made in [adding a condition](adding-a-condition.md). At the terminal every property is a flag of `lockgate rule add`
and `lockgate rule set`, with `-` for `_`: `--subject-contains-words invoice`.

A rule is a table `[[mail_flow_rule]]`: conditions, exceptions, actions. It acts when all its conditions hit and none of
its exceptions does; without conditions on every message. Every condition is an exception too, with `except_if_` before
its name. Rules are looked at for each recipient, in order of priority, 0 first; a rule without a priority comes last,
in order of writing. Each sees the message as the earlier ones changed it. A condition that cannot be answered, because
the directory is out of reach for instance, is neither a hit nor a miss; `lockgate explain` shows it with a question
mark.

Where From, To or Cc breaks the grammar, so that readers differ about whom it names, every address that any of them
might find there counts: `U <u@bad.test> x` and `U: <u@bad.test` are from bad.test. What is proven of a sender rests on
the strict reading alone ([authentication](authentication.md)).
Regular expressions are those of .NET as far as they can be found in linear time; what cannot is refused with its place.
So is one with more than {MOST_WIDE} places where something else may stand (`.`, `\\d`, `[a-z]`, and what is repeated,
each time), or {MOST_WIDE_ENDLESS} where it has no end (`*`, `+`, `{{n,}}`): write smaller repetitions, `.{{0,100}}`.
In a text that was made so that it takes long, an expression is looked for as long as there is time; if it has not been
found until then, it is unknown, and `rule_error_action` says what follows.
"""

GROUPS_HEAD = f"""\
## Groups of conditions

All conditions of a rule must hit. Where one of several is enough, they stand in groups, so that no rule need be copied:
with `either`, at least one of its groups must hit as well, and with `except_if_either` a group that hits cancels the
rule. A group holds conditions and exceptions as a rule does; it hits if all its conditions hit and none of its
exceptions does, so a group of exceptions alone is a "not". A group may hold groups, {DEEPEST_GROUP} deep, {MOST_GROUPS}
in one rule. `lockgate explain` names the group that hit by its number, from 1 on (`2.1` is the first within the
second), or says of each why it missed. Exchange has no groups; with `compatibility = "exchange"` they are refused.

```toml
[[mail_flow_rule]]
name = "Bills"
recipient_domain_is = ["contoso.com"]
either = [
  {{ subject_contains_words = ["invoice"], except_if_from_scope = "in_organization" }},
  {{ from = ["billing@fabrikam.com"] }},
]
except_if_either = [{{ sent_to = ["ana@contoso.com"], message_size_over = "10MB" }}]
prepend_subject = "[BILL] "
```
"""

_ABOUT = {
    "remote_domain": (
        "What it keeps in is dropped, and the trace says so; see [remote domains](remote-domains.md)."
    ),
    "operator": "One table for the whole installation. Only who may change everything may change it.",
}

LATER = MappingProxyType(
    {
        "organisation": frozenset(
            {
                "edition", "smtp_client_authentication_disabled",
                "allow_legacy_tls_clients", "reply_all_storm_protection_enabled",
                "reply_all_storm_detection_minimum_recipients", "reply_all_storm_detection_minimum_replies",
                "reply_all_storm_block_duration", "rfc2231_encoding_enabled", "inbound_ipv6",
            }
        ),
        "outbound_connector": frozenset(
            {
                "test_mode",
            }
        ),
        "connection_filter": frozenset({"enable_safe_list"}),
        "remote_domain": frozenset({"is_internal", "target_delivery_domain", "is_coexistence_domain"}),
    }
)  # fmt: skip
"""What is validated, kept and shown, but that no stage looks at yet; a test holds this against the stages."""

_NOT_YET = " *(kept; nothing acts on it yet)*"
_CARRIED = MappingProxyType({"remote_domain": CARRIED})
"""What is only carried through, with the reason."""


def page(catalog: Catalog | None = None) -> str:
    """The whole page as Markdown."""
    catalog = catalog or standard()
    parts = [HEAD]
    for table in TABLES:
        model = MailFlowRule if table == "mail_flow_rule" else model_of(table, catalog)
        parts.append("\n".join(_section(f"[[{table}]]", table, model)))
    parts.append("\n".join(_kinds(catalog)))
    parts.append("\n".join(_section("[operator]", "operator", model_of("operator", catalog))))
    parts.append("\n".join(["### [operator.limits]", "", _summary(Limits), "", *_rows(Limits)]))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def rules_page(catalog: Catalog | None = None) -> str:
    """The page of mail flow rules as Markdown: what every rule has, then each condition and action by itself."""
    catalog = catalog or standard()
    parts = [RULES_HEAD, "\n".join(["## What every rule has", "", *_rows(MailFlowRule)])]
    parts.append(GROUPS_HEAD)
    for title, kinds in (("## Conditions", catalog.conditions), ("## Actions", catalog.actions)):
        parts += [title, *("\n".join(_explained(kind)) for kind in kinds.values())]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _explained(kind: RuleKind) -> Iterator[str]:
    yield f"### {kind.name}"
    yield ""
    about = "" if issubclass(kind.model, RootModel) else _summary(kind.model)
    yield f"{kind.summary}. {about or kind.help}"
    if kind.per_recipient:
        yield "It may hit for one recipient of a message and not for another."
    yield ""
    if about:
        yield from _rows(kind.model)
        yield ""
    yield "```toml"
    yield f"{kind.name} = {as_toml(kind.example)}"
    yield "```"


def _section(head: str, table: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## {head}"
    yield ""
    yield _summary(model)
    if table in _ABOUT:
        yield ""
        yield _ABOUT[table]
    yield ""
    yield from _rows(model, LATER.get(table, frozenset()), _CARRIED.get(table, {}))


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _rows(
    model: type[BaseModel], later: frozenset[str] = frozenset(), carried: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    yield "| property | kind | default | meaning | example |"
    yield "|---|---|---|---|---|"
    for key, info in model.model_fields.items():
        meaning = (info.description or "") + (_NOT_YET if key in later else "")
        if key in carried:
            meaning += f" *(carried through only: {carried[key]})*"
        default = "the only one there is" if key == "organisation" else _default(info)
        cells = (f"`{key}`", _kind(model, key), default, meaning, _example(info))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind(model: type[BaseModel], key: str) -> str:
    words = {
        Kind.TEXT: "text",
        Kind.NUMBER: "number",
        Kind.SWITCH: "true or false",
        Kind.LIST: "list of texts",
        Kind.TABLE: "table",
        Kind.TABLES: "list of tables",
        Kind.MOMENT: "date and time",
    }
    if known := choices(model, key):
        return "one of " + ", ".join(_text(value) for value in known)
    return words[kind_of(model, key)]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "must be given"
    value: Any = info.default
    if value is None or isinstance(value, BaseModel):
        return ""
    return _text(list(value) if isinstance(value, tuple) else value)


def _example(info: FieldInfo) -> str:
    return _text((info.examples or [""])[0])


def _text(value: Any) -> str:
    """A value as TOML would have it; short ones only."""
    table = isinstance(value, dict)
    text = "{" + ", ".join(f"{k} = {v}" for k, v in value.items()) + "}" if table else json.dumps(value)
    return f"`{text}`" if len(text) <= 80 else f"`{text[:76]}...`"


def _kinds(catalog: Catalog) -> Iterator[str]:
    yield "### Conditions and actions of rules"
    yield ""
    yield (
        f"Every condition is an exception too, with `{EXCEPTION}` before its name. A rule acts when all its conditions "
        "hit and none of its exceptions does; without conditions on every message."
    )
    yield ""
    yield "| property | is | meaning | example |"
    yield "|---|---|---|---|"
    for key, summary in GROUPS.items():
        yield f"| `{key}` | groups of conditions | {summary}. {GROUPS_HELP} | {_text(list(GROUPS_EXAMPLE))} |"
    for kind in (*catalog.conditions.values(), *catalog.actions.values()):
        yield f"| `{kind.name}` | {kind.role.value} | {kind.summary}. {kind.help} | {_text(kind.example)} |"


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType({"policy": page, "rules": rules_page})
"""The pages that `lockgate reference` prints, and docs/NAME.md holds."""
