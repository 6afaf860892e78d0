"""Files and JSON of unknown origin: read once, bounded, or refused in one line; nothing hangs."""

import os
import socket

import pytest

from tests.crafted import FR
from vmaf_assay.errors import AssayError, IntegrityError
from vmaf_assay.media.files import MAX_INT_DIGITS, MAX_JSON_DEPTH, parse_json_strict, read_json_strict, read_plain


def nested(depth: int) -> bytes:
    """An object around `depth - 1` lists."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


HOSTILE_JSON = {
    "a key twice": (b'{"a": 1, "a": 2}', "key 'a' twice"),
    "a key twice, deep": (b'{"x": [{"a": 1, "a": 1}]}', "key 'a' twice"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "minus infinity": (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
    "1e400": (b'{"a": 1e400}', "1e400 is no finite number"),
    "1e400 in disguise": (b'{"a": 0.' + b"0" * 10 + b"1e+0000500}", "no finite number"),
    "three hundred digits before the exponent": (b'{"a": 1' + b"0" * 300 + b".0e99}", "no finite number"),
    "an integer of 10,000 digits": (b'{"a": ' + b"9" * 10_000 + b"}", "integer of 10000 digits"),
    "an integer beyond 64 bits": (b'{"a": 1' + b"0" * MAX_INT_DIGITS + b"}", "integer of 19 digits"),
    "bad UTF-8": (b'{"a": "\xff"}', "can't decode byte 0xff"),
    "an overlong UTF-8 form": (b'{"a": "\xc0\xaf"}', "can't decode"),
    "a surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "can't decode"),
    "half a surrogate pair, escaped": (b'{"a": "\\ud800"}', "half a surrogate pair"),
    "half a surrogate pair in a key": (b'{"x": [{"\\udfff": 1}]}', "half a surrogate pair"),
    "an escaped NUL": (b'{"a": ["\\u0000"]}', "NUL"),
    "a raw NUL": (b'{"a": "\x00"}', "Invalid control character"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', "BOM"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "can't decode"),
    "nested one too deep": (nested(MAX_JSON_DEPTH + 2), f"nested deeper than {MAX_JSON_DEPTH}"),
    "nested 100,000 deep": (nested(100_000), "nested"),
    "text behind the end": (b"{} {}", "Extra data"),
    "nothing": (b"", "Expecting value"),
    "null": (b"null", "holds a NoneType, not an object"),
    "a list": (b"[]", "holds a list, not an object"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE_JSON)
def test_hostile_json_is_refused(what):
    """Each is one line that says what is wrong with which file."""
    data, says = HOSTILE_JSON[what]
    with pytest.raises(IntegrityError) as caught:
        parse_json_strict(data, where="it.json")
    assert says in str(caught.value)
    assert str(caught.value).startswith("it.json")
    assert len(str(caught.value)) < 400


def test_good_json_is_taken():
    """The deepest nesting, the longest integer, a real surrogate pair, brackets and escapes in texts."""
    assert parse_json_strict(nested(MAX_JSON_DEPTH), where="it")
    assert parse_json_strict(b'{"a": 999999999999999999, "b": -1.5e-400, "c": 1e99}', where="it")["c"] == 1e99
    assert parse_json_strict(b'{"a": "\\ud83d\\ude00"}', where="it") == {"a": "\U0001f600"}
    assert parse_json_strict(b'{"a": "' + b"[" * 500 + b'"}', where="it") == {"a": "[" * 500}


def pipe(path):
    """A FIFO that nobody writes to."""
    os.mkfifo(path)


def bound_socket(path):
    """A socket's file."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


NO_FILES = {
    "a pipe": (pipe, "is not a plain file"),
    "a socket": (bound_socket, "is not a plain file"),
    "a folder": (lambda path: path.mkdir(), "is not a plain file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is not a plain file"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "is missing"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot read"),
    "nothing": (lambda path: None, "is missing"),
    "a large file": (lambda path: path.write_bytes(b" " * 101), "has 101 bytes, over 100"),
}


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_plain_file_is_refused_at_once(what, tmp_path):
    """A pipe, a device, a folder: refused by name, without waiting for a writer or reading without end."""
    make, says = NO_FILES[what]
    make(tmp_path / "f.json")
    with pytest.raises(IntegrityError, match=says):
        read_json_strict(tmp_path / "f.json", max_bytes=100)


@pytest.mark.parametrize("mode", [0o666, 0o777, 0o646, 0o4644, 0o1644])
def test_a_guarded_file_is_nobody_elses(tmp_path, mode):
    """A file that anybody may write, and odd modes, are refused where trust rests on the file; elsewhere not."""
    path = tmp_path / "f"
    path.write_bytes(b"x")
    path.chmod(mode)
    assert read_plain(path, max_bytes=9) == b"x"
    with pytest.raises(IntegrityError, match=f"has mode {mode:o}"):
        read_plain(path, max_bytes=9, guarded=True)
    for good in (0o644, 0o664, 0o444, 0o755):
        path.chmod(good)
        assert read_plain(path, max_bytes=9, guarded=True) == b"x"


def test_a_guarded_file_is_no_link(tmp_path):
    """Elsewhere a link is followed."""
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to("f")
    assert read_plain(tmp_path / "link", max_bytes=9) == b"x"
    with pytest.raises(IntegrityError, match="is a symbolic link"):
        read_plain(tmp_path / "link", max_bytes=9, guarded=True)


def test_an_error_cannot_drive_a_terminal():
    """Escape sequences and half surrogates in a name are spelled out, on one line."""
    error = AssayError("evil\x1b[2Jname\ud800 \u202e\nnext", next_step="\x07")
    assert str(error) == "evil\\x1b[2Jname\\ud800 \\u202e next; \\x07"
    assert str(AssayError(f"{FR} größer")) == f"{FR} größer"
