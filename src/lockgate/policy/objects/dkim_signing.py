"""DKIM signing configurations: which domains sign what leaves, and with keys of which kind (specification 1.13.3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from lockgate.policy.spelling import Comment, DomainName, ObjectName


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("name at least one, rsa or ed25519; to sign nothing say enabled = false")
    return tuple(dict.fromkeys(names))


Algorithms = Annotated[tuple[Literal["rsa", "ed25519"], ...], AfterValidator(_some)]
"""Kinds of keys, each named once."""


class DkimSigningConfig(BaseModel, frozen=True, extra="forbid"):
    """That mail of a domain is signed with keys of its own when it leaves the organisation (RFC 6376).

    The keys themselves are no policy: `lockgate dkim rotate DOMAIN` makes them, and they sign as soon as their records
    are seen in DNS. Mail of a domain without a configuration is signed by the initial domain, else by the default
    domain of the organisation, if that one has a configuration. Without any, nothing is signed.
    """

    domain_name: DomainName = Field(
        description="An accepted domain of the organisation, or a name below one with match_sub_domains",
        examples=["contoso.com"],
    )
    organisation: ObjectName = Field(
        description="Whose domain it is; may be left out when there is one organisation", examples=["contoso"]
    )
    enabled: bool = Field(default=True, description="Whether the domain signs", examples=[False])
    key_size: Literal[1024, 2048, 3072, 4096] = Field(
        2048, description="Bits of RSA keys that are made from now on; others read 1024 as weak", examples=[4096]
    )
    algorithms: Algorithms = Field(
        ("rsa",),
        description="Kinds of keys, a signature each; ed25519 is for newer verifiers, so keep rsa beside it",
        examples=[["rsa", "ed25519"]],
    )
    header_canonicalization: Literal["relaxed", "simple"] = Field(
        "relaxed", description="simple: a header field that is folded anew on its way breaks the signature",
        examples=["simple"],
    )
    body_canonicalization: Literal["relaxed", "simple"] = Field(
        "relaxed", description="simple: blanks changed in the body break the signature", examples=["simple"]
    )
    comment: Comment = Field("", description="Note for people", examples=["since the move"])
