"""Named lists as the judge asks for them, beside the directory: from this machine, nothing is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lockgate.flow.settle import Ask
from lockgate.mail.findings import Answer, InList, ListInText, OnList, Question, Unknown
from lockgate.mail.lists import ListEntry, ListKind, ListName
from lockgate.policy.catalog import standard
from lockgate.policy.documents import Documents, Written
from lockgate.policy.listed import find_value
from lockgate.policy.named_lists import uses_of
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.phrases import find_in, is_too_varied, pieces_of
from lockgate.seams import ListKeeper, Lists, ListView, Unavailable


def with_lists(lists: Lists, otherwise: Ask) -> Ask:
    """Answers what is asked of lists; the rest is asked of `otherwise`."""

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        mine = [question for question in questions if isinstance(question, InList)]
        if not mine:
            return otherwise(questions)
        rest = tuple([question for question in questions if not isinstance(question, InList)])
        found: dict[Question, Answer] = {question: on_list(lists, question) for question in mine}
        return found | (otherwise(rest) if rest else {})

    return ask


def on_list(lists: Lists, question: InList) -> OnList | Unknown:
    """Whether the value is on the list. Never raises."""
    view = lists.view(ListName(question.organisation, question.kind, question.list))
    if isinstance(view, Unknown):
        return view
    try:
        return _told(view, find_value(question.kind, question.value, view))
    except Unavailable as trouble:
        return Unknown(f"the list {question.list}: {trouble}")


def in_texts(
    lists: Lists | None, questions: Sequence[ListInText], texts: Sequence[str], *, cut: bool
) -> dict[Question, Answer]:
    """Which of the lists have an entry in one of the texts; `cut` tells that they are not whole. Never raises."""
    if lists is None:
        return dict.fromkeys(questions, Unknown("there are no lists here"))
    readable = [text for text in texts if not is_too_varied(text)]
    cut = cut or len(readable) < len(texts)
    pieces: list[list[str]] | None = None
    told: dict[Question, Answer] = {}
    for question in questions:
        view = lists.view(ListName(question.organisation, ListKind.WORDS, question.list))
        if isinstance(view, Unknown):
            told[question] = view
            continue
        try:
            if view.count and pieces is None:
                pieces = [pieces_of(text) for text in readable]  # once for all lists
            told[question] = _told(view, find_in(pieces or (), view) if view.count else None, cut=cut)
        except Unavailable as trouble:
            told[question] = Unknown(f"the list {question.list}: {trouble}")
    return told


class ListNotes(msgspec.Struct, frozen=True):
    """What `rule show` and its like say of the lists that a rule looks into, beside what the documents say."""

    keeper: ListKeeper

    def of(self, written: Written[Any], documents: Documents) -> dict[str, Any]:
        """How much is on the lists that a rule names; nothing for rules without, and for other objects.

        Entries belong to a list of a kind, so the kind counts that the documents declare.
        """
        rule = written.value
        if not isinstance(rule, MailFlowRule):
            return {}
        found: dict[str, str] = {}
        declared = [one.value for one in documents.lists if one.value.organisation == rule.organisation]
        kinds = {one.name: one.kind for one in declared}
        for name in dict.fromkeys(name for uses in uses_of(rule, standard()) for name in uses.lists() if name in kinds):
            try:
                count = self.keeper.current(ListName(rule.organisation, kinds[name], name)).count
            except Unavailable:
                found[name] = "cannot be read, so nothing is known of it"
            else:
                found[name] = f"{count} entries" if count else "no entries, so nothing is on it"
        return {"lists": found} if found else {}


def _told(view: ListView, entry: ListEntry | None, *, cut: bool = False) -> OnList:
    if entry is not None:
        return OnList(entry.text, view.revision)
    return OnList("", view.revision, not view.count, cut and bool(view.count))
