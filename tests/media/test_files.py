"""Files and JSON of unknown origin: read once, bounded, or refused in one line; nothing hangs."""

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crafted import FR
from vmaf_assay.errors import AssayError, IntegrityError
from vmaf_assay.media import files
from vmaf_assay.media.files import (
    MAX_INT_DIGITS,
    MAX_JSON_DEPTH,
    parse_json_closely,
    parse_json_plain,
    parse_json_strict,
    read_json_strict,
    read_plain,
)
from vmaf_assay.registry.store import registry_dir


def nested(depth: int) -> bytes:
    """An object around `depth - 1` lists."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


HOSTILE_JSON = {
    "a key twice": (b'{"a": 1, "a": 2}', "key 'a' twice"),
    "a key twice, deep": (b'{"x": [{"a": 1, "a": 1}]}', "key 'a' twice"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "minus infinity": (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
    "1e400": (b'{"a": 1e400}', "1e400 is not a finite number"),
    "1e400 in disguise": (b'{"a": 0.' + b"0" * 10 + b"1e+0000500}", "not a finite number"),
    "three hundred digits before the exponent": (b'{"a": 1' + b"0" * 300 + b".0e99}", "not a finite number"),
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
}


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


def closely(data: bytes) -> str:
    """What the close look alone makes of a document: the value and its types spelled out, or `refused`."""
    try:
        return repr(parse_json_closely(data, where="it"))
    except IntegrityError:
        return "refused"


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["-0", "-0.0", "1e400", "01", "+1", ".5", "1.", "NaN", "Infinity", "0." + "0" * 30 + "1"]),
)
TEXTS = st.text(st.sampled_from('ab:{}[],0e9\\" \u00e9\U0001f600'), max_size=5).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
DOCUMENTS = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.sampled_from(["true", "false", "null"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(TEXTS, inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(DOCUMENTS, st.data())
def test_the_quick_way_is_the_close_look(document, data):
    """What is parsed quickly is what the close look takes, to the last bit of a float; one byte changed or not."""
    text = f'{{"a": {document}}}'.encode()
    at = data.draw(st.integers(0, len(text)))
    for tried in (
        text,
        text[:at] + data.draw(st.sampled_from([b"", b"\0", b"\xff", b"}", b'"', b"9"])) + text[at:],
    ):
        quick = parse_json_plain(tried)
        assert quick is None or repr(quick) == closely(tried)


def test_ordinary_files_are_parsed_quickly():
    """Every JSON file that ships goes the quick way, and reads the same."""
    shipped = [path.read_bytes() for path in registry_dir(None).glob("*.json")]
    assert len(shipped) > 10
    assert all(repr(parse_json_plain(data)) == closely(data) for data in shipped)
    assert parse_json_plain(nested(MAX_JSON_DEPTH // 2)) is not None
    assert parse_json_plain(nested(MAX_JSON_DEPTH + 1)) is None


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


def test_a_file_is_read_whole_however_it_comes(tmp_path, monkeypatch):
    """A system that gives a few bytes at a time, and a file that grows between its size and its end."""
    path = tmp_path / "f"
    path.write_bytes(bytes(range(200)))
    read = os.read
    monkeypatch.setattr(files.os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
    assert read_plain(path, max_bytes=200) == bytes(range(200))
    fstat = os.fstat
    path.write_bytes(b"x")

    def grow(descriptor):
        facts = fstat(descriptor)
        path.write_bytes(b"x" * 300)
        return facts

    monkeypatch.setattr(files.os, "fstat", grow)
    assert read_plain(path, max_bytes=300) == b"x" * 300
    path.write_bytes(b"x")
    with pytest.raises(IntegrityError, match="over 299 bytes"):
        read_plain(path, max_bytes=299)


def test_an_error_cannot_drive_a_terminal():
    """Escape sequences and half surrogates in a name are spelled out, on one line."""
    error = AssayError("evil\x1b[2Jname\ud800 \u202e\nnext", next_step="\x07")
    assert str(error) == "evil\\x1b[2Jname\\ud800 \\u202e next; \\x07"
    assert str(AssayError(f"{FR} größer")) == f"{FR} größer"
