"""Single policy objects at the desk: list, show, add, set, remove; each write is a revision like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.objects import Assignment, ObjectList, ObjectShow, ObjectWrite
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Forbidden, Handler, Misuse, Nothing, the_organisation
from lockgate.flow.revising import Ground, Revising, Wish
from lockgate.policy.catalog import standard
from lockgate.policy.differences import by_identity, name_of, plain
from lockgate.policy.documents import TABLES, Documents, Written, model_of, name_key
from lockgate.policy.editing import NEW_FILE, CannotEdit, Edit, Place, added, all_changed, filled, removed
from lockgate.policy.numbering import is_priority, priorities_of, put_between, rules_of
from lockgate.policy.objects.remote_domains import RemoteDomain
from lockgate.policy.problems import nearest
from lockgate.policy.values import Kind, kind_of, value_of, without
from lockgate.seams import Overtaken

RIGHT_FOR = MappingProxyType(
    {
        "organisation": Right.ORGANISATION,
        "operator": Right.ORGANISATION,
        "accepted_domain": Right.DOMAINS_AND_CONNECTORS,
        "remote_domain": Right.DOMAINS_AND_CONNECTORS,
        "inbound_connector": Right.DOMAINS_AND_CONNECTORS,
        "outbound_connector": Right.DOMAINS_AND_CONNECTORS,
        "connection_filter": Right.HYGIENE,
        "anti_phishing_policy": Right.HYGIENE,
        "arc_config": Right.HYGIENE,
        "dkim_signing_config": Right.DOMAINS_AND_CONNECTORS,
        "mailbox_store": Right.DOMAINS_AND_CONNECTORS,
        "mail_flow_rule": Right.RULES,
        "named_list": Right.RULES,
    }
)
"""Who may change objects of a table."""

PROOFS = frozenset({"proof", "proven_at", "vouched_by_operator", "organisation"})
"""Properties of a domain that say whose it is: only who may change everything writes them by hand."""

EVERYBODY = "*"
"""The name of the remote domain that holds where no other does; it is there without being written."""

RULES = "mail_flow_rule"

MOST_TRIES = 5
"""So often a change is made anew of the policy that somebody else put in force meanwhile."""

FIXED = frozenset({"domain_name"})
"""What cannot be renamed: a proof holds for one name."""


class ObjectDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about single objects. `new_proof` makes the token that a domain's TXT record must hold.

    `notes` adds to the row of an object what is known of it besides what is written.
    """

    revising: Revising
    new_proof: Callable[[], str]
    notes: Callable[[Written[Any], Documents], Mapping[str, Any]] = lambda written, documents: {}

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section. Writing asks for the right of the table too."""
        return {
            ObjectList: Handler(Right.POLICY_VIEW, self.list),
            ObjectShow: Handler(Right.POLICY_VIEW, self.show),
            ObjectWrite: Handler(Right.POLICY_VIEW, self.write),
        }

    async def list(self, request: ObjectList, caller: Caller) -> Answer:
        """All objects of the tables with every property."""
        ground = await self.revising.ground()
        priorities = priorities_of(ground.understood.documents.rules)
        rows = [
            {**row_of(written), **_standing(written, priorities), **self.notes(written, ground.understood.documents)}
            for written in [*by_identity(ground.understood.documents).values(), *_built_in(ground)]
            if written.table in request.tables and request.organisation in ("", organisation_of(written))
        ]
        if request.tables == (RULES,):
            rows.sort(key=lambda row: (row["organisation"], row["effective_priority"]))
        return Answer(result=rows)

    async def show(self, request: ObjectShow, caller: Caller) -> Answer:
        """One object, and where it is written."""
        ground = await self.revising.ground()
        if request.name == EVERYBODY and request.tables == ("remote_domain",):
            organisation = the_organisation(request.organisation, organisations_of(ground))
            for written in _built_in(ground):
                if organisation_of(written) == organisation:
                    return Answer(result=row_of(written))
        written = found(ground, request.tables, request.name, request.organisation)
        standing = _standing(written, priorities_of(ground.understood.documents.rules))
        return Answer(result={**row_of(written), **standing, **self.notes(written, ground.understood.documents)})

    async def write(self, request: ObjectWrite, caller: Caller) -> Answer:
        """Add, set, put or remove one object."""
        for table in request.tables:
            if table not in RIGHT_FOR:
                raise Misuse(f"there is no table '{table[:40]}'; there are {', '.join(RIGHT_FOR)}")
        actions: Mapping[str, Callable[[Ground, ObjectWrite, Caller], Awaitable[Change]]] = {
            "add": self._add,
            # The remote domain for everybody need not be written to be there, and is written when it is changed.
            "set": self._put if (request.tables, request.name) == (("remote_domain",), EVERYBODY) else self._set,
            "put": self._put,
            "remove": self._remove,
        }
        act = actions.get(request.action)
        if act is None:
            raise Misuse(f"an object can be added, set, put or removed, not '{request.action[:40]}'")
        tries = MOST_TRIES if request.expect is None else 1
        while True:
            tries -= 1
            ground = await self.revising.ground()
            try:
                change = await act(ground, request, caller)
                return await self.publish(change, ground, request, caller)
            except CannotEdit as trouble:
                raise Misuse(str(trouble)) from None
            except Overtaken:  # somebody else changed something at the same moment; what is wanted is made of that
                if tries <= 0:
                    raise

    async def publish(self, change: Change, ground: Ground, request: Any, caller: Caller) -> Answer:
        """Publish the changed texts; `request` says why and whether really."""
        # The texts were made of this revision; another one in between must not be undone.
        expect = ground.number if request.expect is None else request.expect
        wish = Wish(
            caller.name, change.done, request.reason or change.done, expect, request.what_if
        )
        told = await self.revising.publish(change.files, wish)
        if request.what_if:
            return Answer(result={**told, "object": change.object})
        now = await self.revising.ground()
        later = by_identity(now.understood.documents).get(change.identity)
        return Answer(result={**told, "object": row_of(later) if later is not None else change.object})

    # --- the four changes

    async def _add(self, ground: Ground, request: ObjectWrite, caller: Caller) -> Change:
        if len(request.tables) != 1:
            raise Misuse(f"say which of them is added: {', '.join(request.tables)}")
        table = request.tables[0]
        may(caller, table, [one.key for one in request.assignments])
        files = dict(ground.files)
        names = organisations_of(ground)
        values: dict[str, Any] = {}
        if table not in {"organisation", "operator"}:
            organisation = the_organisation(request.organisation, names)
            if len(names) > 1:
                values["organisation"] = organisation
        else:
            organisation = request.name if table == "organisation" else ""
        if request.name and table not in {"connection_filter", "operator"}:
            values = {name_key(table): request.name, **values}
        self._free(ground, table, organisation, request.name)
        values.update(assigned(table, {}, request.assignments))
        if table == "accepted_domain" and not values.get("vouched_by_operator"):
            values.setdefault("proof", self.new_proof())
        if table == "organisation" and len(names) == 1:
            files = filled(files, [one for one in TABLES if one != "organisation"], "organisation", names[0])
        if table == RULES:
            put, shifted = _between(ground, values, organisation, None)
            values, files = {**values, **put}, all_changed(files, shifted)
        file = home_of(ground, table, organisation)
        row = {"table": table, "file": file, **values}
        if "proof" in values:
            row["txt_record"] = record_of(request.name, str(values["proof"]))
        return Change(
            added(files, file, table, values), f"{table} add {request.name}".strip(),
            identity(table, organisation, request.name), row,
        )  # fmt: skip

    def _free(self, ground: Ground, table: str, organisation: str, name: str) -> None:
        there = by_identity(ground.understood.documents).get(identity(table, organisation, name))
        if there is not None:
            shown = name_of(table, there.value)
            raise Misuse(f"'{shown}' is there already, in {there.file}; change it with set")

    async def _set(self, ground: Ground, request: ObjectWrite, caller: Caller) -> Change:
        written = found(ground, request.tables, request.name, request.organisation)
        keys = [*(one.key for one in request.assignments), *request.unset]
        if not keys:
            raise Misuse("say what is to be changed, as property=value")
        may(caller, written.table, keys)
        if fixed := sorted(FIXED & set(keys)) if written.table in {"accepted_domain", "remote_domain"} else []:
            raise Misuse(f"{fixed[0]} cannot be changed, because the proof holds for one name; add a new one instead")
        known = list(model_of(written.table, standard()).model_fields)
        if wrong := [key for key in request.unset if key not in known]:
            raise Misuse(f"there is no '{wrong[0][:80]}'{nearest(wrong[0], known)}")
        before = plain(written.value)
        edit = Edit(assigned(written.table, before, request.assignments), request.unset)
        organisation = organisation_of(written)
        shifted: Mapping[Place, Edit] = {}
        if written.table == RULES:
            put, shifted = _between(ground, edit.put, str(edit.put.get("organisation", organisation)), written)
            edit = edit._replace(put={**edit.put, **put})
        files = all_changed(ground.files, {**shifted, place_of(written): edit})
        name = str(edit.put.get(name_key(written.table), name_of(written.table, written.value)))
        return Change(
            files, f"{written.table} set {name_of(written.table, written.value)}",
            identity(written.table, organisation, name), {**row_of(written), **edit.put},
        )  # fmt: skip

    async def _put(self, ground: Ground, request: ObjectWrite, caller: Caller) -> Change:
        try:
            found(ground, request.tables, request.name, request.organisation)
        except Nothing:
            return await self._add(ground, request, caller)
        return await self._set(ground, request, caller)

    async def _remove(self, ground: Ground, request: ObjectWrite, caller: Caller) -> Change:
        written = found(ground, request.tables, request.name, request.organisation)
        may(caller, written.table, [])
        if written.table == "operator":
            raise Misuse("the operator's table cannot be removed; set or unset its properties")
        mine = [written]
        if written.table == "organisation":
            mine += _belongings(ground, written.value.name)
            if len(mine) > 1 and not request.with_objects:
                raise Misuse(
                    f"'{written.value.name}' has {len(mine) - 1} objects still; say --with-objects to remove them too"
                )
        files = removed(ground.files, [place_of(one) for one in mine])
        name = name_of(written.table, written.value)
        return Change(
            files, f"{written.table} remove {name}", identity(written.table, organisation_of(written), name),
            row_of(written),
        )  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """New texts, what was done in words, and the object that it was done to."""

    files: Mapping[str, str]
    done: str
    identity: tuple[str, str, str]
    object: Mapping[str, Any]


def may(caller: Caller, table: str, keys: Sequence[str]) -> None:
    """Raises Forbidden if the caller may not change these properties of such an object."""
    wanted = [RIGHT_FOR[table]]
    if "organisation" in keys or (table == "accepted_domain" and PROOFS & set(keys)):
        wanted.append(Right.ORGANISATION)
    for right in wanted:
        if right not in caller.rights:
            raise Forbidden(f"your account lacks the right {right}; the operator's file grants role groups")


def assigned(table: str, before: Mapping[str, Any], assignments: Sequence[Assignment]) -> dict[str, Any]:
    """The properties that assignments give, of the kinds the model has. Raises Misuse."""
    model = model_of(table, standard())
    texts: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    missed = ""
    for one in assignments:
        kind = kind_of(model, one.key)
        if one.how == "=":
            texts.setdefault(one.key, []).append(one.text)
            values[one.key] = value_of(kind, texts[one.key])
            continue
        if kind is Kind.TABLES:
            now, meant = [*(values.get(one.key, before.get(one.key)) or ())], value_of(kind, [one.text])
            less = [table for table in now if table not in meant]
            if one.how == "+":
                values[one.key] = [*now, *(table for table in meant if table not in now)]
            elif len(less) < len(now):
                values[one.key] = less
            else:
                missed = f"{one.key} does not hold {one.text[:80]}"
            continue
        if kind is not Kind.LIST:
            raise Misuse(f"{one.key[:80]} is no list; write {one.key[:80]}=value")
        now = [*(values.get(one.key, before.get(one.key)) or ())]
        less = without(now, one.text)
        if one.how == "+":
            values[one.key] = now if len(less) < len(now) else [*now, one.text]
        elif len(less) < len(now):
            values[one.key] = less
        else:
            missed = f"{one.key} does not hold '{one.text[:80]}'"
    if missed and not values:
        raise Nothing(missed)
    return values


def found(ground: Ground, tables: Sequence[str], name: str, organisation: str) -> Written[Any]:
    """The object of this name. Raises Nothing if there is none, Misuse if there are several."""
    everything = by_identity(ground.understood.documents)
    matching = [
        written
        for (table, owner, key), written in everything.items()
        if table in tables
        and (table in {"connection_filter", "operator"} or key == name.casefold())
        and (not organisation or organisation.casefold() in (owner.casefold(), key if table == "organisation" else ""))
    ]
    if not matching:
        known = [name_of(written.table, written.value) for written in everything.values() if written.table in tables]
        what = " or ".join(table.replace("_", " ") for table in tables)
        raise Nothing(f"there is no {what} '{name[:80]}'{nearest(name, known)}")
    if len(matching) > 1:
        where = ", ".join(f"{one.table} of {organisation_of(one) or one.value.name}" for one in matching)
        raise Misuse(f"several are called '{name[:80]}' ({where}); say which: --inbound, --outbound or --organisation")
    return matching[0]


def identity(table: str, organisation: str, name: str) -> tuple[str, str, str]:
    """By what the object is found; names of the two objects that have none are known."""
    names = {"connection_filter": "default", "operator": "operator"}
    owner = "" if table in {"organisation", "operator"} else organisation
    return table, owner, names.get(table, name.casefold())


def organisations_of(ground: Ground) -> tuple[str, ...]:
    """The names of all organisations."""
    return tuple(written.value.name for written in ground.understood.documents.organisations)


def organisation_of(written: Written[Any]) -> str:
    """Whose object it is; "" for what belongs to none."""
    return str(getattr(written.value, "organisation", ""))


def row_of(written: Written[Any]) -> dict[str, Any]:
    """An object as every face shows it: table, file, and all its properties; a domain also with its TXT record."""
    row = {"table": written.table, "file": written.file, **plain(written.value, all_of_it=True)}
    if written.table == "accepted_domain" and written.value.proof:
        row["txt_record"] = record_of(written.value.domain_name, written.value.proof)
    return row


def _standing(written: Written[Any], priorities: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """The priority that a rule has, also where none is written."""
    if written.table != RULES:
        return {}
    return {"effective_priority": priorities[organisation_of(written), written.value.name]}


def _between(
    ground: Ground, values: Mapping[str, Any], organisation: str, moving: Written[Any] | None
) -> tuple[dict[str, Any], Mapping[Place, Edit]]:
    """If a rule is put at a priority: the one it then has, and what is to be written at those that make room."""
    if not is_priority(values.get("priority")):
        return {}, {}
    numbered = put_between(rules_of(ground.understood.documents.rules, organisation), values["priority"], moving)
    return {"priority": numbered.place}, numbered.others


def record_of(domain: str, proof: str) -> str:
    """The line that the domain's owner puts into its zone."""
    return f'{domain}. 3600 IN TXT "{proof}"'


def place_of(written: Written[Any]) -> Place:
    """Where the object is written."""
    return Place(written.file, written.table, written.index)


def home_of(ground: Ground, table: str, organisation: str) -> str:
    """The file for a new object: where most of its kind are, else where its organisation is, else the first one."""
    alike: dict[str, int] = {}
    owner = ""
    for written in by_identity(ground.understood.documents).values():
        if written.table == "organisation" and written.value.name == organisation:
            owner = written.file
        if written.table == table and organisation_of(written) == organisation:
            alike[written.file] = alike.get(written.file, 0) + 1
    if alike:
        return max(alike, key=lambda file: (alike[file], file == owner))
    return owner or next(iter(sorted(ground.files)), NEW_FILE)


def _built_in(ground: Ground) -> list[Written[Any]]:
    """The remote domains for everybody of the organisations that have not written theirs."""
    there = {one.value.organisation for one in ground.understood.documents.remote if one.value.domain_name == EVERYBODY}
    return [
        Written(RemoteDomain(domain_name=EVERYBODY, name="Default", organisation=name), "remote_domain", "built in", 0)
        for name in organisations_of(ground)
        if name not in there
    ]


def _belongings(ground: Ground, organisation: str) -> list[Written[Any]]:
    return [one for one in ground.understood.documents.everything() if organisation_of(one) == organisation]
