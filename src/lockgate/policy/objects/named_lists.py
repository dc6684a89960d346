"""Named lists as the policy has them: name and kind; what is on them is kept beside the policy."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lockgate.mail.lists import ListKind
from lockgate.policy.spelling import Comment, ObjectName


class NamedList(BaseModel, frozen=True, extra="forbid"):
    """A list of domains, addresses or words that mail flow rules look into by its name.

    The entries are no part of the policy: `lockgate list add`, `remove` and `import` change them, which acts within a
    second and makes no revision. An entry is kept for the kind of the list it was added to: under another kind the list
    has other entries.
    """

    name: ObjectName = Field(description="Name, unique among the organisation's lists", examples=["partners"])
    organisation: ObjectName = Field(
        description="Whose list it is; may be left out when there is one organisation", examples=["contoso"]
    )
    kind: ListKind = Field(
        description="What is on it: domains (with all below them), addresses, or words (and phrases)",
        examples=["domains"],
    )
    comments: Comment = Field("", description="Note for people", examples=["kept by purchasing"])
