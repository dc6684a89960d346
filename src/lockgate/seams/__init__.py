"""All that we need from the world: each need is a Protocol with its promises in prose, a page for each subject."""

from __future__ import annotations

from lockgate.mail.dns import DnsAnswer, DnsBogus, DnsNone, DnsState, DnsTemporary, MxHost
from lockgate.seams.carrying import Asked, Callout, Courier, Taken, Unreachable, Verifier
from lockgate.seams.connectors import Blocks
from lockgate.seams.examining import Examiner, Validations
from lockgate.seams.lists import ListChange, ListKeeper, Lists, ListView
from lockgate.seams.people import Difference, Directory, Loading, Recipients
from lockgate.seams.queue import MOST_TASKS, Accepted, BodyWriter, Keeping, Spool, Unavailable
from lockgate.seams.revisions import NoPolicy, Overtaken, Revision, RevisionNote, Revisions
from lockgate.seams.telling import Audit, Clock, Journal
from lockgate.seams.trust import Authenticator, KeyStore, Resolver, SigningKeys, StsPolicies, StsShelf, TlsResults

__all__ = [
    "MOST_TASKS",
    "Accepted",
    "Asked",
    "Audit",
    "Authenticator",
    "Blocks",
    "BodyWriter",
    "Callout",
    "Clock",
    "Courier",
    "Difference",
    "Directory",
    "DnsAnswer",
    "DnsBogus",
    "DnsNone",
    "DnsState",
    "DnsTemporary",
    "Examiner",
    "Journal",
    "Keeping",
    "KeyStore",
    "ListChange",
    "ListKeeper",
    "ListView",
    "Lists",
    "Loading",
    "MxHost",
    "NoPolicy",
    "Overtaken",
    "Recipients",
    "Resolver",
    "Revision",
    "RevisionNote",
    "Revisions",
    "SigningKeys",
    "Spool",
    "StsPolicies",
    "StsShelf",
    "Taken",
    "TlsResults",
    "Unavailable",
    "Unreachable",
    "Validations",
    "Verifier",
]
