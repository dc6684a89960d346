"""What is attached: names, extensions, sizes and number of attachments (specification 1.15.8).

Every name that some mail program would show counts, and images within the text are attachments too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import Unknown
from lockgate.mail.structure import Part, Structure
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unanswerable, unknown, yes
from lockgate.policy.spelling import Size
from lockgate.policy.text import pattern
from lockgate.policy.texts import Expressions, some

Look = Callable[[Structure], Seen]
"""What a condition makes of the parts."""


def _extension(text: str) -> str:
    plain = text.strip().lstrip(".").casefold()
    if not plain or "/" in plain or len(plain) > 40:
        raise ValueError(f"'{text[:40]}' is no extension; write it like exe or tar.gz")
    return plain


@condition(
    "attachment_name_matches_patterns", "The name of an attachment matches one of these expressions",
    per_recipient=False,
)  # fmt: skip
class AttachmentNameMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.8."""

    root: Expressions = Field(description="Regular expressions.", examples=[[r"^invoice.*\.exe$"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in every name of every part."""
        found_in = context.look_for("attachment", [pattern(text) for text in self.root])

        def look(structure: Structure) -> Seen:
            names = tuple([name for part in structure.parts for name in part.names])
            found = found_in(*names) if names else None
            if found is not None:
                return yes(f"the attachment '{found[1][:80]}' matches '{found[0]}'")
            return no(f"no attachment's name matches {some(self.root)}")

        return _of_parts(context, look)


@condition("attachment_extension_matches_words", "An attachment has one of these extensions", per_recipient=False)
class AttachmentExtensionMatchesWords(
    RootModel[tuple[Annotated[str, AfterValidator(_extension)], ...]], frozen=True
):
    """Specification 1.15.8; files within archives are looked at with the malware filter."""

    root: tuple[Annotated[str, AfterValidator(_extension)], ...] = Field(
        min_length=1, max_length=1000, description="Extensions without the dot.", examples=[["exe", "js", "tar.gz"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look at the end of every name."""
        wanted = frozenset(self.root)

        def look(structure: Structure) -> Seen:
            for part in structure.parts:
                for name in part.names:
                    for extension in extensions(name):
                        if extension in wanted:
                            return yes(f"the attachment '{name[:80]}' ends with .{extension}")
            return no(f"no attachment ends with {some(self.root)}")

        return _of_parts(context, look)


def extensions(name: str) -> list[str]:
    """What a program may take for the extension of this name: behind each of its last two dots, in lower case.

    Blanks, dots and control characters at the end are dropped by Windows, and quotes are no part of a name.
    """
    plain = "".join(sign for sign in name if sign.isprintable()).rstrip(" .'\"").casefold()
    pieces = plain.rsplit(".", 2)
    return [".".join(pieces[-many:]).strip() for many in range(1, len(pieces))]


@condition("attachment_size_over", "A single attachment has at least this size", per_recipient=False)
class AttachmentSizeOver(RootModel[Size], frozen=True):
    """Specification 1.15.8 and 1.15.2: "over" means this much or more, decoded; images within the text count."""

    root: Size = Field(ge=1, description="Octets, or with KB, MB, GB.", examples=["10KB"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Compare the largest one."""
        least = self.root

        def look(structure: Structure) -> Seen:
            largest = max(_attachments(structure), key=lambda part: part.size, default=None)
            if largest is None:
                return no("nothing is attached")
            said = f"the largest attachment{_named(largest)} has {largest.size} octets"
            return yes(said) if largest.size >= least else no(f"{said}, fewer than {least}")

        return _of_parts(context, look)


@condition("attachment_count_over", "There are at least so many attachments", per_recipient=False)
class AttachmentCountOver(RootModel[int], frozen=True):
    """Not in Exchange; counts what people see as attached."""

    root: int = Field(ge=1, le=1000, description="How many are too many.", examples=[1])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Count."""
        least = self.root

        def look(structure: Structure) -> Seen:
            many = sum(1 for _ in _attachments(structure))
            said = f"{many} attached" if many else "nothing is attached"
            return yes(said) if many >= least else no(f"{said}, fewer than {least}")

        return _of_parts(context, look)


@condition(
    "attachment_processing_limit_exceeded", "There are more parts, or deeper ones, than are looked at",
    per_recipient=False,
)  # fmt: skip
class AttachmentProcessingLimitExceeded(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.8."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Whether the walk was cut short."""

        def look(structure: Structure) -> Seen:
            return yes("it has more parts than are looked at") if structure.cut else no("all its parts were looked at")

        return _of_parts(context, look, sure_when_cut=True)


@condition("content_character_set_contains_words", "A part is in one of these character sets", per_recipient=False)
class ContentCharacterSetContainsWords(RootModel[tuple[str, ...]], frozen=True):
    """Specification 1.15.7; the name as the part says it."""

    root: tuple[str, ...] = Field(
        min_length=1, max_length=100, description="Names of character sets.", examples=[["koi8-r", "gb2312"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Compare, case does not count."""
        wanted = {name.strip().casefold() for name in self.root}

        def look(structure: Structure) -> Seen:
            for part in structure.parts:
                for charset in (part.charset, part.last_charset):
                    if charset.strip().casefold() in wanted:
                        return yes(f"a part is in {charset[:40]}")
            return no(f"no part is in {some(self.root)}")

        return _of_parts(context, look)


def _of_parts(context: Context, look: Look, *, sure_when_cut: bool = False) -> RecipientTest:
    question = context.ask_of_parts()

    def test(case: Case, _: Address) -> Seen:
        match case.facts.findings.get(question):
            case Structure() as structure:
                seen = look(structure)
                if structure.cut and not sure_when_cut and seen.hit == "no":
                    return unanswerable("it has more parts than are looked at")
                return seen
            case Unknown(why):
                return unknown(f"its parts could not be looked at: {why}")
        return unknown("its parts have not been looked at")

    return test


def _attachments(structure: Structure) -> list[Part]:
    return [part for part in structure.parts if part.attachment]


def _named(part: Part) -> str:
    return f" '{part.names[0][:80]}'" if part.names else ""
