"""Random damage: of bytes, of text, and of JSON at any place of its tree."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

HUGE = 5_000
"""Digits of a number, or levels of nesting, that no reader expects."""
TEXTS = (
    "",
    " ",
    "\t",
    "0",
    "-1",
    "²",
    "١٢",
    "1_000",
    "0x10",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "9" * 30,
    "9" * 400,
    "9" * HUGE,
    "1." + "9" * HUGE,
    "[" * HUGE,
    "{" * HUGE,
    '{"a":' * HUGE,
    "[" * HUGE + "]" * HUGE,
    "null",
    "true",
    "[]",
    "{}",
    "[null]",
    "[1,[2,3]]",
    '{"a":1}',
    "[1e999]",
    f"[{'9' * HUGE}]",
    '"',
    "'",
    "=",
    ",",
    ":",
    ";",
    "é",
    "日本語",
    "\udce9",
    "🙂" * 40,
    "a" * 300,
    "a/" * 200,
    "../..",
    "/dev/null/a",
    "~",
    "*",
    "%s%n",
    "{0}",
    "[red]",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202e",
    "\n",
    "a\nb",
    "\r",
    "top:0",
    "top:-1",
    "top:" + "9" * HUGE,
    "all",
    "predicted",
    "label",
    "present",
    "none",
)
"""What a user, a shell or a broken program may give for a text."""
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    7,
    2**31,
    2**63,
    -(2**63),
    10**30,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "a",
    "\udce9",
    "\x00",
    "\x1b[2J",
    "x" * 400,
    "1",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"": None},
    {"a": 1},
    [1, "a"],
    ["a"],
    [1.5],
    [-1],
    [10**30],
    [float("nan")],
    "DEEP",
    "DIGITS",
)
"""Values of JSON that a place of a tree may get. ``as_text`` spells the last two."""


def damaged_bytes(random: Random, content: bytes) -> bytes:
    """The content after one to three accidents."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = random.choice(ACCIDENTS)(random, content)
    return content


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _flip(random: Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 3, 30)) if found else 0):
        found[random.randrange(min(len(found), random.choice((64, len(found)))))] ^= 1 << random.randrange(8)
    return bytes(found)


def _piece(random: Random, content: bytes) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 4, 40, 400)))


def _overwritten(random: Random, content: bytes) -> bytes:
    start, end = _piece(random, content)
    fill = random.choice((b"\x00", b"\xff", b"\x7f", random.randbytes(1)))
    return content[:start] + fill * (end - start) + content[end:]


def _removed(random: Random, content: bytes) -> bytes:
    start, end = _piece(random, content)
    return content[:start] + content[end:]


def _moved(random: Random, content: bytes) -> bytes:
    """A piece in another place, which disturbs the order of chunks."""
    start, end = _piece(random, content)
    rest, to = content[:start] + content[end:], random.randrange(len(content) + 1)
    return rest[:to] + content[start:end] + rest[to:]


def _doubled(random: Random, content: bytes) -> bytes:
    start, end = _piece(random, content)
    return content[:end] + content[start:]


def _inserted(random: Random, content: bytes) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.randbytes(random.choice((1, 2, 16))) + content[at:]


def _lying_number(random: Random, content: bytes) -> bytes:
    """Four bytes near the start, where formats keep their sizes, are another number."""
    at = random.randrange(max(1, min(len(content), 64)))
    number = random.choice((0, 1, 2, 2**15, 2**16, 2**24, 2**31 - 1, 2**32 - 1)).to_bytes(
        4, random.choice(("big", "little"))
    )
    return content[:at] + number + content[at + 4 :]


def _nothing(random: Random, content: bytes) -> bytes:
    return b""


ACCIDENTS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _cut,
    _cut,
    _flip,
    _flip,
    _flip,
    _overwritten,
    _removed,
    _moved,
    _doubled,
    _inserted,
    _lying_number,
    _lying_number,
    _nothing,
)


def encoded(random: Random, text: str) -> bytes:
    """The text in UTF-8, and now and then in an encoding that no reader expects."""
    name = random.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"))
    return text.encode(
        name, "backslashreplace" if name in ("latin-1", "cp037") else "surrogateescape" if name == "utf-8" else "replace"
    )


def places(tree: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of a tree of lists and dicts, but the tree itself."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*here, key)
        yield from places(value, (*here, key))


def damaged_tree(random: Random, tree: Any) -> tuple[str, str]:
    """JSON text of the tree, one to three of whose values are other ones, gone, renamed or doubled; and what was done."""
    tree, done = json.loads(json.dumps(tree)), []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        everywhere = list(places(tree))
        if not everywhere:
            break
        path, what = (
            random.choice(everywhere),
            random.choice(("value", "value", "value", "gone", "renamed", "elsewhere", "doubled")),
        )
        holder = tree
        for key in path[:-1]:
            holder = holder[key]
        key = path[-1]
        if what == "value":
            holder[key] = json.loads(json.dumps(value := random.choice(VALUES)))
            done.append(f"{path} = {str(value)[:40]!r}")
            continue
        if what == "gone":
            del holder[key]
        elif what == "elsewhere":
            other = random.choice(everywhere)
            value = tree
            try:
                for step in other:
                    value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
            holder[key] = json.loads(json.dumps(value))
        elif isinstance(holder, dict):
            holder[random.choice(("", "x", "\udce9", "a" * 300, f"{key}2"))] = (
                holder[key] if what == "doubled" else holder.pop(key)
            )
        else:
            holder.insert(0, json.loads(json.dumps(holder[key])))
        done.append(f"{path} {what}")
    return as_text(tree), "; ".join(done)


def as_text(tree: Any) -> str:
    """JSON with what json.dumps cannot write: nesting and digits beyond reason."""
    text = json.dumps(tree, indent=random_indent(tree))
    return text.replace('"DEEP"', "[" * HUGE + "]" * HUGE).replace('"DIGITS"', "9" * HUGE)


def random_indent(tree: Any) -> int | None:
    return None if len(str(tree)) % 2 else 2


def damaged_text(random: Random, text: str, separators: str) -> str:
    """A cell or a word between ``separators`` becomes another, or is gone, or doubled."""
    marks = [i for i, letter in enumerate(text) if letter in separators] or [0]
    for _ in range(random.choice((1, 1, 1, 1, 2, 5))):
        start = random.choice(marks) + 1
        end = next((i for i in range(start, len(text)) if text[i] in separators), len(text))
        word = random.choice((random.choice(TEXTS), random.choice(TEXTS), "", 2 * text[start:end], text[start - 1 : end]))
        text = text[:start] + word + text[end:]
        marks = [i for i, letter in enumerate(text[:20_000]) if letter in separators] or [0]
    return text
