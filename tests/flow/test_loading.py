"""An import never turns a stale or half-broken source into refusals; the same over both stores."""

from __future__ import annotations

import pytest

from lockgate.flow.loading import NotLoaded, Progress, Wishes, load
from lockgate.storage.recipients import RecipientStore
from lockgate.testing.recipients import MemoryRecipients


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryRecipients()
    made = RecipientStore(tmp_path / "directory")
    made.ensure()
    return made


def people(*names: str, more: str = "") -> list[str]:
    return ["address,aliases\n", *(f"{name}@c.test,\n" for name in names), *more.splitlines(keepends=True)]


def put(store, lines, **wishes):
    wrong = []
    told = load(lines, Wishes("contoso", "csv", "people.csv", **wishes), store, Progress(wrong.append))
    return told, wrong


def there(store) -> set[str]:
    return {row.primary.local for row in store.rows("contoso")}


HUNDRED = tuple(f"u{n}" for n in range(100))


def test_what_an_import_counts(store):
    told, _ = put(store, people("a", "b", "c"))
    assert (told["before"], told["added"], told["removed"], told["recipients"]) == (0, 3, 0, 3)
    told, _ = put(store, people("a", "b", more="d@c.test,e@c.test\n"), force=True)
    assert (told["before"], told["added"], told["changed"], told["removed"], told["unchanged"]) == (3, 1, 0, 1, 2)
    assert told["missing"] == ["c@c.test"] and there(store) == {"a", "b", "d"}
    told, _ = put(store, people("a", "b", more="d@c.test,\n"), what_if=True, force=True)
    assert told["changed"] == 1 and "revision" not in told
    assert store.row("contoso", "e@c.test") is not None


def test_more_than_a_tenth_is_removed_only_by_force(store):
    put(store, people(*HUNDRED))
    with pytest.raises(NotLoaded, match="11 of 100 recipients would be removed") as caught:
        put(store, people(*HUNDRED[:89]))
    assert "--force" in str(caught.value) and len(there(store)) == 100
    told, _ = put(store, people(*HUNDRED[:89]), keep_missing=True)
    assert (told["removed"], told["kept"]) == (0, 11) and len(there(store)) == 100
    assert put(store, people(*HUNDRED[:90]))[0]["removed"] == 10
    assert put(store, people(*HUNDRED[:5]), force=True)[0]["removed"] == 85
    assert len(there(store)) == 5


def test_an_empty_file_is_refused_even_by_force(store):
    put(store, people("a"))
    for lines in (people(), people(more="nonsense\n")):
        with pytest.raises(NotLoaded, match="would refuse all mail"):
            put(store, lines, force=True)
    assert there(store) == {"a"}


def test_while_a_line_is_rejected_nobody_is_removed(store):
    put(store, people(*HUNDRED))
    told, wrong = put(store, people(*HUNDRED[:30], "new", more="u31 c.test,\n"))
    assert (told["rejected"], told["added"], told["removed"], told["kept"]) == (1, 1, 0, 70)
    assert [(one.line, one.column) for one in wrong] == [(33, "address")]
    assert there(store) == {*HUNDRED, "new"}
    with pytest.raises(NotLoaded, match="--all-or-nothing"):
        put(store, people("other", more="u31 c.test,\n"), all_or_nothing=True)
    assert "other" not in there(store)


def test_a_file_that_has_lost_its_aliases_is_stopped_too(store):
    full = ["address,aliases\n", *(f"{name}@c.test,{name}.alias@c.test\n" for name in HUNDRED)]
    put(store, full)
    with pytest.raises(NotLoaded, match="100 of 200 addresses would be removed"):
        put(store, people(*HUNDRED))
    with pytest.raises(NotLoaded, match="addresses would be removed"):
        put(store, people(*HUNDRED, more="nonsense\n"))
    assert store.row("contoso", "u5.alias@c.test") is not None


def test_an_address_belongs_to_one_recipient(store):
    told, wrong = put(store, people("a", "b", more="c@c.test,A@c.test\na@c.test,\n"))
    assert told["recipients"] == 2
    assert [one.line for one in wrong] == [4, 5] and "already given on line 2" in wrong[0].message


def test_who_is_kept_gives_up_what_the_file_gives_to_another(store):
    put(store, ["address,aliases\n", "old@c.test,info@c.test\n", "b@c.test,\n"])
    put(store, ["address,aliases\n", "b@c.test,info@c.test\n"], keep_missing=True)
    assert there(store) == {"old", "b"}
    assert store.row("contoso", "info@c.test").primary.local == "b"
    assert store.row("contoso", "old@c.test").keys == ("old@c.test",)


def test_other_organisations_are_left_alone(store):
    put(store, people("a"))
    load(people("x"), Wishes("fabrikam", "csv", "f"), store, Progress(print))
    put(store, people("b"), force=True)
    assert store.row("fabrikam", "x@c.test") is not None and store.row("contoso", "a@c.test") is None
