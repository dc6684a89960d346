"""Commands for objects that need no words of their own: organisations, remote domains, mail flow rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lockgate.cli import objects
from lockgate.cli.asked import AsJson
from lockgate.cli.flags import flagged
from lockgate.cli.objects import Name, Organisation, Properties, Unset, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import ObjectWrite

WithObjects = Annotated[bool, typer.Option("--with-objects", help="With everything that belongs to it.")]


def noun(table: str, what: str, help_: str, columns: Sequence[Column], about: str = "") -> typer.Typer:
    """The commands list, show, add, set and remove for the objects of one table; `what` is what people call one.

    `about` is what whoever writes one has to know besides.
    """
    commands = typer.Typer(no_args_is_help=True, help=help_)
    tables = (table,)

    def list_(context: typer.Context, organisation: Organisation = "", as_json: AsJson = False) -> None:
        objects.listed(context, tables, organisation, columns, as_json=as_json)

    def show_(context: typer.Context, name: Name, organisation: Organisation = "", as_json: AsJson = False) -> None:
        objects.shown(context, tables, name, organisation, as_json=as_json)

    commands.command("list", help=f"List every {what}.")(list_)
    commands.command("show", help=f"Show one {what} with all its properties.")(show_)
    _writes(commands, tables, what, about)
    return commands


def _writes(commands: typer.Typer, tables: tuple[str, ...], what: str, about: str) -> None:
    def add(name: Name, properties: Properties = None, organisation: Organisation = "") -> ObjectWrite:
        return ObjectWrite("add", tables, name, organisation, objects.assignments(properties))

    def set_(
        name: Name, properties: Properties = None, unset: Unset = None, organisation: Organisation = ""
    ) -> ObjectWrite:
        given, gone = objects.assignments(properties), objects.unset_keys(unset)
        return ObjectWrite("set", tables, name, organisation, given, gone)

    def remove(name: Name, organisation: Organisation = "", with_objects: WithObjects = False) -> ObjectWrite:
        return ObjectWrite("remove", tables, name, organisation, with_objects=with_objects)

    with_flags = flagged(*tables)
    written = f"by flags or as property=value. {about}".strip()
    commands.command("add", help=f"Add one {what}, its properties {written}")(with_flags(writes(add)))
    commands.command("set", help=f"Change properties of one {what}, {written}")(with_flags(writes(set_)))
    commands.command("remove", help=f"Remove one {what}.")(writes(remove))


ORGANISATIONS = noun(
    "organisation",
    "organisation",
    "Organisations: whose mail flow this is.",
    (
        Column("name", "NAME"),
        Column("display_name", "SHOWN AS"),
        Column("edition", "EDITION"),
        Column("compatibility", "COMPATIBILITY"),
        Column("message_expiration", "MESSAGE LIFE (S)", right=True),
    ),
)

REMOTE_DOMAINS = noun(
    "remote_domain",
    "remote domain",
    "Remote domains: what automatic and formatted mail may look like for a destination.",
    (
        Column("domain_name", "DOMAIN"),
        Column("organisation", "ORGANISATION"),
        Column("allowed_oof_type", "OUT OF OFFICE"),
        Column("auto_forward_enabled", "FORWARDS"),
        Column("auto_reply_enabled", "REPLIES"),
        Column("ndr_enabled", "REPORTS"),
    ),
)

ANTI_PHISHING = noun(
    "anti_phishing_policy",
    "anti-phishing policy",
    "Anti-phishing policies: what becomes of mail whose author is forged.",
    (
        Column("organisation", "ORGANISATION"),
        Column("name", "NAME"),
        Column("enabled", "ENABLED"),
        Column("honor_dmarc_policy", "DMARC"),
        Column("dmarc_reject_action", "ON REJECT"),
        Column("own_domain_spoof_action", "OWN DOMAIN"),
    ),
)

ARC = noun(
    "arc_config",
    "ARC setting",
    "ARC settings: whose seals on forwarded mail are trusted.",
    (
        Column("organisation", "ORGANISATION"),
        Column("name", "NAME"),
        Column("trusted_arc_sealers", "TRUSTED SEALERS"),
    ),
)

SIGNING = noun(
    "dkim_signing_config",
    "signing domain",
    "DKIM: which domains sign what leaves, and the keys they sign with.",
    (
        Column("domain_name", "DOMAIN"),
        Column("organisation", "ORGANISATION"),
        Column("enabled", "ENABLED"),
        Column("algorithms", "ALGORITHMS"),
        Column("key_size", "RSA BITS", right=True),
        Column("header_canonicalization", "HEADER"),
        Column("body_canonicalization", "BODY"),
    ),
)

RULES = noun(
    "mail_flow_rule",
    "mail flow rule",
    "Mail flow rules: when, unless, then.",
    (
        Column("effective_priority", "PRIORITY", right=True),
        Column("organisation", "ORGANISATION"),
        Column("name", "NAME"),
        Column("state", "STATE"),
        Column("mode", "MODE"),
        Column("hits", "HITS", right=True),
        Column("last_hit", "LAST HIT"),
        Column("activation_date", "FROM"),
        Column("expiry_date", "UNTIL"),
        Column("comments", "COMMENTS"),
    ),
    "Every condition is an exception too, with --except-if- before its name. Without conditions it is for all mail.",
)
