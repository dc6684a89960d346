"""The front of the desk: finds the section for a request, checks the right, and turns every failure into an answer."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.flow.asking import Answer, Kind, Request
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Forbidden, Handler, Misuse, Nothing, Section, problem_row
from lockgate.policy.documents import Invalid
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
            self._audit.wrote(caller.name, "was refused", asked=type(request).__name__, because=str(trouble))
            return Answer(Kind.FORBIDDEN, sentence=str(trouble))
        except (Nothing, Overtaken, NoPolicy) as trouble:
            return Answer(Kind.FINDING, sentence=str(trouble))
        except Invalid as trouble:
            found = [problem_row(problem) for problem in trouble.problems]
            return Answer(Kind.FINDING, {"problems": found}, f"{len(found)} mistakes, nothing was changed")
        except Unavailable as trouble:
            return Answer(Kind.UNREACHABLE, sentence=f"the keeper cannot answer now: {trouble}")
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="desk", by=caller.name, trouble=trouble)
            return Answer(Kind.UNFORESEEN, sentence="something unforeseen happened here; the log says more")

    async def _do(self, request: Request, caller: Caller) -> Answer:
        handler = self._handlers.get(type(request))
        if handler is None:
            raise Misuse("this service does not answer that")
        if handler.right not in caller.rights:
            raise Forbidden(f"your account lacks the right {handler.right}; the operator's file grants role groups")
        return await handler.do(request, caller)
