"""Rules, and groups of their conditions, that can never hit because what they ask for excludes itself.

Only what follows from the documents alone is told; conditions about the same thing are compared, not their texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from lockgate.policy.catalog import EXCEPTION, Catalog
from lockgate.policy.checks import Report
from lockgate.policy.documents import Written
from lockgate.policy.groups import said_in
from lockgate.policy.linter.implied import all_below, below, domain_of, implies
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.rules import EITHER, MailFlowRule, groups_of
from lockgate.policy.tries import DomainMap

_WHY = "what it should do is never done, and nothing tells of it"
_NARROW = "narrow the exception, or take one of the two away"


class _Found(NamedTuple):
    """A contradiction: the key of a condition, what it meets, and how it is mended."""

    key: str
    message: str
    mend: str


class Contradictions(NamedTuple):
    """Looks whether rules can hit; `own` are the accepted domains of their organisation, proven or not."""

    catalog: Catalog
    own: DomainMap[AcceptedDomain]
    names: tuple[str, ...]

    def never(self, written: Written[MailFlowRule], report: Report) -> bool:
        """Tell of all that never hits; whether the rule itself never does."""
        rule = written.value
        begins, ends = rule.activation_date, rule.expiry_date
        if begins is not None and ends is not None and ends <= begins:
            message, mend = f"rule '{rule.name}' ends before it begins", "an expiry_date after the activation_date"
            report.doubtful(written, ("expiry_date", "activation_date"), message, why=_WHY, mend=mend)
            return True
        return self._holder(written, rule, (), report)

    def _holder(
        self, written: Written[MailFlowRule], holder: BaseModel, at: tuple[str | int, ...], report: Report
    ) -> bool:
        """A rule, or a group of it, whose path within the rule is `at`."""
        found = next(self._contradictions(written.value, holder), None)
        if found is not None:
            what = "this group" if at else f"rule '{written.value.name}'"
            message = f"{what} never matches: {found.message}"
            report.doubtful(written, ((*at, found.key),), message, why=_WHY, mend=found.mend)
        lost: dict[str, list[bool]] = {}
        for key, place, group in groups_of(holder):
            lost.setdefault(key, []).append(self._holder(written, group, (*at, key, place), report))
        return found is not None or all(lost.get(EITHER, (False,)))

    def _contradictions(self, rule: MailFlowRule, holder: BaseModel) -> Iterator[_Found]:
        for key in said_in(holder):
            name = key.removeprefix(EXCEPTION)
            if name == key or name not in self.catalog.conditions:
                continue
            condition, exception = _given(holder, name, key)
            if condition is not None and implies(name, condition, exception):
                yield _Found(name, f"whatever hits {name} is excepted by {EXCEPTION}{name}", _NARROW)
        yield from _excepted(holder)
        yield from _disjoint(holder)
        if rule.recipient_address_type == "resolved":
            yield from self._scopes(holder, "sent_to_scope", "recipient_domain_is", "sent_to")
        if rule.sender_address_location == "envelope":  # what From says is no matter of from_scope
            yield from self._scopes(holder, "from_scope", "sender_domain_is", "from")

    def _scopes(self, holder: BaseModel, scope: str, domains: str, people: str) -> Iterator[_Found]:
        (wanted,) = _given(holder, scope)
        if wanted is None or (wanted.root != "in_organization" and scope == "from_scope"):
            return  # anonymous mail in our name is outside too
        inside = wanted.root == "in_organization"
        for key, whole in ((domains, False), (people, True)):
            (told,) = _given(holder, key)
            if told is None:
                continue
            names = [domain_of(text) for text in told.root] if whole else told.root
            if all(self._excluded(name, inside=inside, whole=whole) for name in names):
                where = "outside" if inside else "inside"
                yield _Found(scope, f"all that {key} names is {where} of the organisation",
                             f"another {scope}, or others in {key}")  # fmt: skip

    def _excluded(self, domain: str, *, inside: bool, whole: bool) -> bool:
        """Whether nobody of the domain is in the scope; unless `whole`, what lies below it is meant too."""
        accepted = self.own.find(domain)
        if not inside:
            return accepted is not None and (whole or accepted.match_sub_domains)
        return accepted is None and (whole or not any(below(name, domain) for name in self.names))


def _given(holder: BaseModel, *keys: str) -> tuple[Any, ...]:
    """The values of these keys, None for those that are not there."""
    return tuple([getattr(holder, key, None) for key in keys])


def _excepted(holder: BaseModel) -> Iterator[_Found]:
    """Conditions whose hits another kind of exception takes away."""
    for people, domains in (("sent_to", "recipient_domain_is"), ("from", "sender_domain_is")):
        named, excepted = _given(holder, people, EXCEPTION + domains)
        if named is not None and excepted is not None and all_below(_domains(named.root), excepted.root):
            yield _Found(people, f"all that {people} names is excepted by {EXCEPTION}{domains}", _NARROW)
    part, whole = _given(holder, "attachment_size_over", f"{EXCEPTION}message_size_over")
    if part is not None and whole is not None and part.root >= whole.root:
        message = f"a message with such an attachment is excepted by {EXCEPTION}message_size_over"
        yield _Found("attachment_size_over", message, "an exception that begins at a larger size")


def _disjoint(holder: BaseModel) -> Iterator[_Found]:
    """Recipients in none of the domains in which they must be."""
    people, domains = _given(holder, "sent_to", "recipient_domain_is")
    if people is None or domains is None:
        return
    if not any(below(name, domain) for name in _domains(people.root) for domain in domains.root):
        message = "none of sent_to is in a domain of recipient_domain_is, and both must hit"
        yield _Found("sent_to", message, "leave one of them away, or write both as groups of `either`")


def _domains(addresses: Iterable[str]) -> list[str]:
    return [domain_of(text) for text in addresses]
