"""The front of the desk: finds the section for a request, checks the right, and turns every failure into an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from lockgate.flow.asking import Answer, Ask, Kind, Request
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Forbidden, Handler, Misuse, Nothing, Section, problem_row
from lockgate.policy.problems import Invalid
from lockgate.seams import Audit, Journal, NoPolicy, Overtaken, Unavailable


class Desk:
    """Answers requests of people who were let in; wired once by the app."""

    def __init__(self, sections: Sequence[Section], audit: Audit, journal: Journal) -> None:
        self._audit = audit
        self._journal = journal
        self._handlers: dict[type, Handler] = {}
        for section in sections:
            self._handlers.update(section.handles())

    async def answer(self, request: Request, caller: Caller) -> Answer:
        """Do what is asked, if the caller may. Never raises: every failure is an answer in words."""
        try:
            return await self._do(request, caller)
        except Misuse as trouble:
            return Answer(Kind.MISUSE, sentence=str(trouble))
        except Forbidden as trouble:
            asked = {"asked": type(request).__struct_config__.tag, "request": summary(request)}
            self._audit.wrote(caller.name, "was refused", **asked, because=str(trouble))
            return Answer(Kind.FORBIDDEN, sentence=str(trouble))
        except (Nothing, Overtaken, NoPolicy) as trouble:
            return Answer(Kind.FINDING, sentence=str(trouble))
        except Invalid as trouble:
            found = [problem_row(problem) for problem in trouble.problems]
            count = f"{len(found)} mistake{'' if len(found) == 1 else 's'}"
            return Answer(Kind.FINDING, {"problems": found}, f"{count}, nothing was changed")
        except Unavailable as trouble:
            return Answer(Kind.UNREACHABLE, sentence=f"the keeper cannot answer now: {trouble}")
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="desk", by=caller.name, trouble=trouble)
            return Answer(Kind.UNFORESEEN, sentence="something unforeseen happened here; the log says more")

    async def _do(self, request: Request, caller: Caller) -> Answer:
        handler = self._handlers.get(type(request))
        if handler is None:
            raise Misuse("this service does not answer that")
        if not caller.rights & {handler.right, handler.instead}:
            raise Forbidden(f"your account lacks the right {handler.right}; the operator's file grants role groups")
        return await handler.do(request, caller)


_LONG = 200
_SECRET = re.compile("secret|password|key|token")


def summary(request: Ask) -> dict[str, object]:
    """What a request asks for, short enough for an audit row: long texts only by their length, secrets not at all."""
    told: dict[str, object] = {}
    for name, value in msgspec.structs.asdict(request).items():
        if _SECRET.search(name):
            continue
        plain = msgspec.to_builtins(value)
        text = plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()
        if text not in ("", "{}", "[]", "null"):
            told[name] = plain if len(text) <= _LONG else f"{text[:60]}... ({len(text)} characters)"
    return told
