"""Lines of keys and list entries in TOML texts of every manner of writing."""

import tomllib

from lockgate.policy.locate import line_of, locate

TEXT = '''\
# a comment with [brackets] and = signs
[[organisation]]  # first
name = "a # no comment"
'quoted key' = 1

  [organisation.extra]
  "dotted"."key" = true

[[organisation]]
name = """
two
lines with ] and } and \\""" quotes"""
list = [ "x",  # why
  'y',
  [1, 2],
  { deep = [
     3 ] }, ]
when = 1979-05-27 07:32:00
[operator]
limits = { connections = 5, message_size = "1MB" }
[operator.more]
a.b = 1
'''


def test_every_way_of_writing():
    tomllib.loads(TEXT)
    lines = locate(TEXT)
    expected = {
        ("organisation", 0): 2,
        ("organisation", 0, "name"): 3,
        ("organisation", 0, "quoted key"): 4,
        ("organisation", 0, "extra"): 6,
        ("organisation", 0, "extra", "dotted", "key"): 7,
        ("organisation", 1): 9,
        ("organisation", 1, "name"): 10,
        ("organisation", 1, "list"): 13,
        ("organisation", 1, "list", 0): 13,
        ("organisation", 1, "list", 1): 14,
        ("organisation", 1, "list", 2, 1): 15,
        ("organisation", 1, "list", 3, "deep", 0): 17,
        ("organisation", 1, "when"): 18,
        ("operator",): 19,
        ("operator", "limits", "message_size"): 20,
        ("operator", "more", "a", "b"): 22,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_the_nearest_known_place():
    lines = locate(TEXT)
    assert line_of(lines, ("organisation", 1, "missing")) == 9
    assert line_of(lines, ("elsewhere",)) == 1


def test_broken_text_is_no_reason_to_fail():
    for text in ("[", "a", "a = ", "a = [", "[[", "[[x", "a = {", '"', "= 1", "a = [1, , 2]", "[" * 50):
        locate(text)


def test_lines_are_found_through_multi_line_values():
    lines = locate('a = """\nb = 1\n"""\n[t."x y"]\nc.d = 2\n[[l]]\n[[l]]\ne = [\n 1,\n 2\n]\nf = 1\n')
    assert line_of(lines, ("b",)) == 1
    assert line_of(lines, ("t", "x y", "c", "d")) == 5
    assert line_of(lines, ("l", 1, "e", 1)) == 10
    assert line_of(lines, ("l", 1, "f")) == 12
    assert line_of(lines, ("l", 1, "gone")) == 7
