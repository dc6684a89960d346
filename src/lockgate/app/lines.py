"""Happenings as text: one Postfix-style line or one JSON object each; hostile values cannot forge either.

Log parsers know Postfix's lines (`to=<>, relay=, delay=, dsn=, status=`; `reject: RCPT from ...`), so some of ours have
their shape.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import traceback
from collections.abc import Mapping

LONGEST_VALUE = 500
"""Characters of one value that are kept."""

LONGEST_LINE = 4096
"""Octets of one line that are kept, the line end included (one atomic append on every system we run on)."""

_PLAIN = re.compile(r"[A-Za-z0-9._:/@+\[\]{}#*%-]+")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.:\[\]-]+")
_PLAIN_LIKE, _ADDRESS_LIKE = _PLAIN.fullmatch, _ADDRESS.fullmatch
_MEANS_SOMETHING = re.compile(r"[^A-Za-z0-9._/@+\[\]{}#*%!$&'^`|~=-]")
_REJECTS = re.compile(r"\b(reject|reject_warning|hold|discard):")
_ENHANCED = re.compile(r"[245]\d\d ([245]\.\d{1,3}\.\d{1,3}) ")
_POSTFIX_STATUS = {"delivered": "sent", "deferred": "deferred", "failed": "bounced"}
_ADDRESSES = frozenset({"to", "sender", "recipient", "from"})


def cleaned(value: object) -> str:
    """The value as printable text without control or invisible formatting characters, at most 500 characters."""
    if type(value) is str and len(value) <= LONGEST_VALUE and value.isprintable():
        return value
    match value:
        case str():
            text = value
        case BaseException():
            text = _told(value)
        case bytes():
            text = value.decode("utf-8", "replace")
        case None:
            text = ""
        case _:
            text = str(value)
    if len(text) > LONGEST_VALUE:
        text = text[: LONGEST_VALUE - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text)


def _told(trouble: BaseException) -> str:
    """What went wrong and where, innermost call first: enough to find the line without a page of stack."""
    frames = traceback.extract_tb(trouble.__traceback__)[-4:]
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(trouble).__name__}: {trouble}" + (f" (at {where})" if where else "")


def _pair(name: str, text: str) -> str:
    if name in _ADDRESSES and (not text or _ADDRESS_LIKE(text)):
        return f"{name}=<{text}>"
    if _PLAIN_LIKE(text):
        return f"{name}={text}"
    # Quoted, so that a value with ", status=sent" in it stays a value.
    return f"{name}={json.dumps(text, ensure_ascii=False)}"


class Stamp:
    """Times as RFC 3339 text in UTC with microseconds; the part up to the second is kept: lines come in runs."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, now: float) -> str:
        """Seconds since the epoch as text."""
        second = int(now)
        if second != self._second:
            self._text = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._text}.{int((now - second) * 1_000_000):06d}Z"


def line(when: str, origin: str, happening: str, details: Mapping[str, object], *, alarm: bool) -> bytes:
    """One line: `time origin: [ALARM ]id: ...`; `origin` is "lockgate/role[pid]"."""
    # Nearly every value is what `cleaned` would give back, and there are fourteen a message.
    texts = {
        name: value if type(value) is str and value.isprintable() and len(value) <= LONGEST_VALUE else cleaned(value)
        for name, value in details.items()
    }
    head = f"{when} {origin}: ALARM " if alarm else f"{when} {origin}: "
    reference = texts.pop("id", "")
    if reference:
        head += f"{reference}: " if _PLAIN_LIKE(reference) else f"{json.dumps(reference)}: "
    status = _POSTFIX_STATUS.get(happening, "")
    if status and "reply" in texts:
        body = _delivery(status, texts)
    elif happening == "accepted" and "size" in texts:
        body = _accepted(texts)
    elif happening == "refused" and texts.keys() >= {"reply", "point", "peer"}:
        # Analysers count a refusal only if a program of this name tells it.
        head = head.replace(_program(origin), "smtpd", 1)
        body = _refusal(texts)
    else:
        name = cleaned(happening)
        # The sender may be <>, which says something; other empty values do not.
        pairs = [_pair(key, text) for key, text in texts.items() if text or key == "sender"]
        body = f"{name}: {', '.join(pairs)}" if pairs else name
    return _ended((head + body).encode("utf-8", "replace"))


def _program(origin: str) -> str:
    return origin.partition("/")[2].partition("[")[0] or "lockgate"


def _strict(text: str) -> str:
    """The value with `?` for everything that means something in a line that others take apart."""
    return text if _PLAIN_LIKE(text) or _ADDRESS_LIKE(text) else _MEANS_SOMETHING.sub("?", text)


def _said(reply: str) -> str:
    """A reply within parentheses, where analysers look for the end."""
    return reply.replace("(", "[").replace(")", "]")


def _rest(texts: Mapping[str, str]) -> str:
    return "".join([f", {_pair(name, text)}" for name, text in texts.items() if text])


def _delivery(status: str, texts: dict[str, str]) -> str:
    """`to=<>, relay=, delay=, dsn=, status=sent (reply)`, in the order that analysers want, then what is ours."""
    pop = texts.pop
    to, relay, delay, reply = pop("to", ""), pop("relay", ""), pop("delay", ""), pop("reply")
    enhanced = _ENHANCED.match(reply)
    where = f", relay={_strict(relay)}" if relay else ""
    after = f", delay={_strict(delay)}" if delay else ""
    dsn = enhanced[1] if enhanced else "-"
    return f"to=<{_strict(to)}>{where}{after}, dsn={dsn}, status={status} ({_said(reply)}){_rest(texts)}"


def _accepted(texts: dict[str, str]) -> str:
    """`from=<>, size=, nrcpt=`, as the queue manager of Postfix tells it."""
    pop = texts.pop
    sender, size, recipients = pop("sender", ""), pop("size"), pop("recipients", "1")
    return (
        f"accepted: from=<{_strict(sender)}>, size={_strict(size)}, nrcpt={_strict(recipients)}{_rest(texts)}"
    )


def _refusal(texts: dict[str, str]) -> str:
    """`reject: RCPT from [peer]: reply; from=<> to=<>`, as the SMTP server of Postfix tells it."""
    where, peer, reply = (texts.pop(name) for name in ("point", "peer", "reply"))
    sender, recipient = _strict(texts.pop("sender", "")), _strict(texts.pop("recipient", ""))
    parties = f"from=<{sender}>" + (f" to=<{recipient}>" if recipient else "")
    said = _said(reply).replace(";", ",").replace("<", "[").replace(">", "]")
    # Analysers take the last such word of a line for the one that counts.
    said, rest = (_REJECTS.sub(r"\1;", text) for text in (said, _rest(texts)))
    return f"reject: {_strict(where)} from unknown[{_strict(peer)}]: {said}; {parties}{rest}"


def json_line(when: str, origin: str, happening: str, details: Mapping[str, object], *, alarm: bool) -> bytes:
    """One JSON object on one line: time, origin, happening, alarm, and the details (numbers stay numbers)."""
    record: dict[str, object] = {"time": when, "origin": origin, "happening": cleaned(happening), "alarm": alarm}
    for name, value in details.items():
        record[name if name not in record else f"{name}_"] = value if _is_number(value) else cleaned(value)
    data = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) >= LONGEST_LINE:
        shorter = {name: value[:60] if isinstance(value, str) else value for name, value in record.items()}
        data = json.dumps(dict(list(shorter.items())[:20]), ensure_ascii=False).encode("utf-8", "replace")
    return data + b"\n"


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int) or (isinstance(value, float) and value == value and abs(value) != float("inf"))


def _ended(data: bytes) -> bytes:
    if len(data) < LONGEST_LINE:
        return data + b"\n"
    return data[: LONGEST_LINE - 1].decode("utf-8", "ignore").encode() + b"\n"
