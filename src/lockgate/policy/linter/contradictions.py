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
from lockgate.policy.objects.rules import EITHER, EXCEPT_IF_EITHER, MailFlowRule, groups_of
from lockgate.policy.tries import DomainMap

_WHY = "what it should do is never done, and nothing tells of it"
_NARROW = "narrow the exception, or take one of the two away"


class _Found(NamedTuple):
    """A contradiction: the key of a condition, what it meets, and how it is mended."""

    key: str
    message: str
    mend: str


_Path = tuple[str | int, ...]


class _Both(NamedTuple):
    """A rule or group and one of those within which it stands, read as one: all that either asks for has to hold.

    `first` and `second` may be the same; `first` is asked first. The paths are those within the rule.
    """

    first: tuple[BaseModel, _Path]
    second: tuple[BaseModel, _Path]

    def given(self, *keys: str) -> tuple[Any, ...]:
        """The values of these keys, None for those that are not there."""
        return tuple([next((value for holder, _ in self if (value := getattr(holder, key, None)) is not None), None)
                      for key in keys])  # fmt: skip

    def said(self) -> list[str]:
        """The keys that are written in either."""
        return sorted({key for holder, _ in self for key in said_in(holder)})

    def at(self, key: str) -> _Path:
        """Where the value of this key is written."""
        return next((*at, key) for holder, at in self if getattr(holder, key, None) is not None)


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
        return self._holder(written, ((rule, ()),), report)

    def _holder(
        self, written: Written[MailFlowRule], chain: tuple[tuple[BaseModel, _Path], ...], report: Report
    ) -> bool:
        """The last of the chain: a rule, or a group with all within which it stands, each with its path in the rule."""
        holder, at = chain[-1]
        pairs = (_Both(*two) for outer in reversed(chain) for two in ((chain[-1], outer), (outer, chain[-1])))
        found, where = next(
            ((found, both.at(found.key)) for both in pairs for found in self._contradictions(written.value, both)),
            (None, ()),
        )
        if found is not None:
            what = "this group" if at else f"rule '{written.value.name}'"
            message = f"{what} never matches: {found.message}"
            report.doubtful(written, (where,), message, why=_WHY, mend=found.mend)
        lost: dict[str, list[bool]] = {}
        for key, place, group in groups_of(holder):
            inner = (group, (*at, key, place))
            within = (*chain, inner) if key == EITHER and found is None else (inner,)
            lost.setdefault(key, []).append(self._holder(written, within, report))
        return found is not None or all(lost.get(EITHER, (False,)))

    def _contradictions(self, rule: MailFlowRule, holder: _Both) -> Iterator[_Found]:
        for key in holder.said():
            name = key.removeprefix(EXCEPTION)
            if name == key or name not in self.catalog.conditions:
                continue
            condition, exception = holder.given(name, key)
            if condition is not None and implies(name, condition, exception):
                yield _Found(name, f"whatever hits {name} is excepted by {EXCEPTION}{name}", _NARROW)
        if self._all_excepted(holder):
            message = "whatever it hits is excepted by a group of except_if_either"
            yield _Found(EXCEPT_IF_EITHER, message, _NARROW)
        yield from _excepted(holder)
        yield from _disjoint(holder)
        if rule.recipient_address_type == "resolved":
            yield from self._scopes(holder, "sent_to_scope", "recipient_domain_is", "sent_to")
        if rule.sender_address_location == "envelope":  # what From says is no matter of from_scope
            yield from self._scopes(holder, "from_scope", "sender_domain_is", "from")

    def _all_excepted(self, holder: _Both) -> bool:
        """Whether a group of its exceptions asks for nothing but what its own conditions ask for too."""
        (groups,) = holder.given(EXCEPT_IF_EITHER)
        for group in groups or ():
            keys = said_in(group)
            asked = zip(keys, holder.given(*keys), strict=True)
            if all(key in self.catalog.conditions and value is not None and implies(key, value, getattr(group, key))
                   for key, value in asked):  # fmt: skip
                return True
        return False

    def _scopes(self, holder: _Both, scope: str, domains: str, people: str) -> Iterator[_Found]:
        (wanted,) = holder.given(scope)
        if wanted is None or (wanted.root != "in_organization" and scope == "from_scope"):
            return  # anonymous mail in our name is outside too
        inside = wanted.root == "in_organization"
        for key, whole in ((domains, False), (people, True)):
            (told,) = holder.given(key)
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


def _excepted(holder: _Both) -> Iterator[_Found]:
    """Conditions whose hits another kind of exception takes away."""
    for people, domains in (("sent_to", "recipient_domain_is"), ("from", "sender_domain_is")):
        named, excepted = holder.given(people, EXCEPTION + domains)
        if named is not None and excepted is not None and all_below(_domains(named.root), excepted.root):
            yield _Found(people, f"all that {people} names is excepted by {EXCEPTION}{domains}", _NARROW)
    part, whole = holder.given("attachment_size_over", f"{EXCEPTION}message_size_over")
    if part is not None and whole is not None and part.root >= whole.root:
        message = f"a message with such an attachment is excepted by {EXCEPTION}message_size_over"
        yield _Found("attachment_size_over", message, "an exception that begins at a larger size")


def _disjoint(holder: _Both) -> Iterator[_Found]:
    """Recipients in none of the domains in which they must be; a classification that is and is not there."""
    (name, none) = holder.given("has_classification", "has_no_classification")
    if name is not None and none is not None:
        message = "a message with this classification does not have none"
        yield _Found("has_classification", message, "leave one of them away, or write both as groups of `either`")
    people, domains = holder.given("sent_to", "recipient_domain_is")
    if people is None or domains is None:
        return
    if not any(below(name, domain) for name in _domains(people.root) for domain in domains.root):
        message = "none of sent_to is in a domain of recipient_domain_is, and both must hit"
        yield _Found("sent_to", message, "leave one of them away, or write both as groups of `either`")


def _domains(addresses: Iterable[str]) -> list[str]:
    return [domain_of(text) for text in addresses]
