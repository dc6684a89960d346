"""The kinds of values in the operator's file, each with a message that says what to write instead."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lockgate.mail.address import AddressError, parse_address, parse_domain

_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _hostname(text: str) -> str:
    try:
        name = parse_domain(text.rstrip("."))
    except AddressError as trouble:
        raise ValueError(str(trouble)) from None
    if "." not in name or name.startswith("["):
        raise ValueError("write a full name such as mx1.example.com")
    return name


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("use letters, digits, dots, hyphens and underscores only, at most 64")
    return text


def _address(text: str) -> str:
    if not text:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("write one IPv4 or IPv6 address") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as trouble:
        raise ValueError(f"write a network such as 192.0.2.0/24 ({trouble})") from None


def _v4(text: str) -> str:
    if text and ":" in _address(text):
        raise ValueError("write an IPv4 address")
    return _address(text)


def _v6(text: str) -> str:
    if text and ":" not in _address(text):
        raise ValueError("write an IPv6 address")
    return _address(text)


def _mode(text: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError('write three octal digits in quotes, for example "0660"')
    return text


def _mailbox(text: str) -> str:
    try:
        return parse_address(text).text
    except AddressError as trouble:
        raise ValueError(str(trouble)) from None


def _reference(text: str) -> str:
    if text and not text.startswith(("file:", "env:")):
        raise ValueError('name where the secret is, "file:/path" or "env:NAME"; it never stands here itself')
    return text


Hostname = Annotated[str, AfterValidator(_hostname)]
Token = Annotated[str, AfterValidator(_token)]
IpAddress = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
V4Address = Annotated[str, AfterValidator(_v4)]
V6Address = Annotated[str, AfterValidator(_v6)]
Mode = Annotated[str, AfterValidator(_mode)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Reference = Annotated[str, AfterValidator(_reference)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """What every table of the file has in common: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
