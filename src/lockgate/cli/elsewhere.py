"""Where each command is written. To load and make ready all of them takes longer than most of what they do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import typer

GROUPS = MappingProxyType(
    {
        "queue": "queue.commands",
        "hold": "hold.commands",
        "alert": "alerts.commands",
        "audit": "audit.commands",
        "auth": "auth.commands",
        "reports": "reports.commands",
        "trace": "trace.commands",
        "recipient": "recipients.commands",
        "group": "groups.commands",
        "edge-blocking": "recipients.edge_commands",
        "config": "settings.commands",
        "connector": "connectors.commands",
        "device": "devices.commands",
        "domain": "domains.commands",
        "tls": "tls.commands",
        "ip-list": "ip_list.commands",
        "organisation": "nouns.ORGANISATIONS",
        "remote-domain": "nouns.REMOTE_DOMAINS",
        "rule": "rules.commands",
        "list": "lists.commands",
        "anti-phishing": "nouns.ANTI_PHISHING",
        "arc": "nouns.ARC",
        "dkim": "dkim.commands",
        "certificate": "certificates.commands",
        "mailbox": "mailboxes.commands",
        "convert": "convert.commands",
        "shadow": "shadow.commands",
    }
)
"""Commands with commands of their own: module of this package, and the name there. In the order of the help."""

ALONE = MappingProxyType(
    {
        "backup": "backup.backup",
        "restore": "backup.restore",
        "plan": "policy.plan",
        "apply": "policy.apply",
        "revisions": "policy.revisions",
        "diff": "policy.diff",
        "rollback": "policy.rollback",
        "export": "policy.export",
        "reference": "settings.reference",
        "explain": "explain.explain",
        "what-if": "explain.what_if",
        "replay": "replays.replay",
        "stories": "stories.stories",
        "init": "init.init",
        "preflight": "checkup.preflight",
        "doctor": "checkup.doctor",
    }
)
"""Commands without, likewise."""


def group(name: str) -> typer.Typer:
    """The one of GROUPS with this name. KeyError for another."""
    found = _loaded(GROUPS[name])
    if not isinstance(found, typer.Typer):
        raise TypeError(f"the command {name} is not where it is said to be")
    return found


def command(name: str) -> Callable[..., None]:
    """What the one of ALONE with this name does. KeyError for another."""
    found: Callable[..., None] = _loaded(ALONE[name])
    return found


def _loaded(place: str) -> Any:
    module, _, name = place.partition(".")
    return getattr(importlib.import_module(f"lockgate.cli.{module}"), name)
