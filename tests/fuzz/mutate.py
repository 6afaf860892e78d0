"""Changes that keep a file's outer form: JSON whose values are odd, bytes of which a few are changed."""

import json
import random
from copy import deepcopy
from typing import Any

# fmt: off
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 17, 2**31, 2**53 + 1, -(2**63), 2**64, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308,
    float("nan"), float("inf"), "", " ", "0", "0.99", "NaN", "\x00", "\ud800", "\u202e", "../../etc/passwd",
    "/dev/zero", "libx264", "nvenc", "medium", "x" * 300, "0" * 64, "é" * 70, [], [[]], [None], {}, {"a": 1},
    [0] * 300,
)
"""Values that a field may not expect."""

ODD_TEXT = (b"NaN", b"-Infinity", b"1e400", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe",
            b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x00", b'"\\ud800"', b"PAR1", b"\x80" * 10)
# fmt: on
"""Bytes that a parser may not expect."""


def mutate_json(data: bytes, rng: random.Random) -> bytes | None:
    """One to three values of a JSON document replaced, dropped, doubled or swapped; None if it is no JSON."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.randint(1, 3)):
        places = list(_places(document))
        if not places:
            break
        _change(*rng.choice(places), places, rng)
    try:
        text = json.dumps(document, indent=rng.choice([None, 1]))
    except (ValueError, RecursionError):  # too deep to write
        return None
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _places(value: Any) -> Any:
    """Every (container, key) of a document, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield value, key
                waiting.append(value[key])


def _change(container: Any, key: Any, places: list[Any], rng: random.Random) -> None:
    kind = rng.randrange(5)
    if (isinstance(container, list) and key >= len(container)) or (
        isinstance(container, dict) and key not in container
    ):
        return  # gone by an earlier change
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.append(container[key])
    elif kind == 1:
        container["unknown"] = container[key]
    elif kind == 2:
        other, name = rng.choice(places)
        if (isinstance(other, list) and name >= len(other)) or (isinstance(other, dict) and name not in other):
            return
        container[key] = json.loads(json.dumps(other[name]))
    else:
        container[key] = deepcopy(rng.choice(ODD))  # not the list itself, which a later change may put into it


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: a bit, a byte, a cut, a repetition, or bytes no parser expects."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 2:
            del changed[at : at + rng.choice([1, 4, 100, len(changed)])]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randint(1, 64)]
        else:
            changed[at:at] = rng.choice(ODD_TEXT)
    return bytes(changed)
