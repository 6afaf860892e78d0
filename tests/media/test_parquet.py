"""Parquet of unknown origin: what it claims is bounded before anything is allocated for it."""

import contextlib
import io
import resource

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.parquet import MAX_COLUMNS, Limits, parquet_metadata, parse_parquet


def packed(table: pl.DataFrame, **options) -> bytes:
    """A table as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, **options)
    return buffer.getvalue()


def table(n: int) -> pl.DataFrame:
    """`n` rows of every kind of column that is used here."""
    columns = {
        "i": np.arange(n),
        "f": np.arange(n) / 7,
        "s": [f"name {i % 50}" for i in range(n)],
        "b": [True] * n,
    }
    return pl.DataFrame(columns | {"n": pl.Series([None] * n, dtype=pl.Float32)})


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"])
@pytest.mark.parametrize("n", [0, 1, 5000])
def test_good_tables_are_taken(compression, n):
    """What polars writes comes back, in every compression, in one row group or in many; and its metadata."""
    data = packed(table(n), compression=compression, metadata={"cell": "{} é"}, row_group_size=700)
    assert parse_parquet(data, where="t").equals(table(n))
    assert parquet_metadata(data, where="t")["cell"] == "{} é"


def varint(value: int) -> bytes:
    """An unsigned Thrift number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def claim(data: bytes, old: int, new: int, *, last: bool = False) -> bytes:
    """A file in which one signed number of its footer (or, if `last` is false, its first) is another."""
    before, after = varint(old * 2), varint(new * 2)
    at = data.rindex(before) if last else data.index(before)
    size = int.from_bytes(data[-8:-4], "little")
    changed = data[:at] + after + data[at + len(before) :]
    if at >= len(data) - 8 - size:
        changed = changed[:-8] + (size + len(after) - len(before)).to_bytes(4, "little") + b"PAR1"
    return changed


ONE = packed(pl.DataFrame({"a": np.arange(70_001)}), compression="zstd", statistics=False)
"""70,001 is a number found nowhere else in the file."""

HOSTILE = {
    "nothing": (b"", "not a Parquet file"),
    "only its marks": (b"PAR1" * 3, "longer than the file"),
    "cut": (ONE[:-30], "not a Parquet file"),
    "another footer length": (ONE[:-8] + b"\xff\xff\xff\x7fPAR1", "longer than the file"),
    "a footer of zeros": (b"PAR1" + bytes(40) + (40).to_bytes(4, "little") + b"PAR1", "it is damaged"),
    "a footer without even a root": (
        b"PAR1" + b"\x29\x0c\x00" + (3).to_bytes(4, "little") + b"PAR1",
        "it is damaged",
    ),
    "a billion rows claimed": (claim(ONE, 70_001, 10**9, last=True), "rows"),
    "more values in a page than rows": (claim(ONE, 70_001, 200_001), "another number of rows"),
    "lists": (packed(pl.DataFrame({"a": [[1, 2]]})), "nested"),
    "structs": (packed(pl.DataFrame({"a": [{"x": 1, "y": 2}]})), "nested"),
    "a thousand columns": (packed(pl.DataFrame({f"c{i}": [1] for i in range(1000)})), "1000 columns"),
    "an empty table without columns": (packed(pl.DataFrame()), "0 columns"),
    "one long text, repeated": (packed(pl.DataFrame({"s": ["x" * 5000] * 3000})), "over 1000 bytes"),
    "zeros that unpack to gigabytes": (
        packed(pl.DataFrame({"a": pl.zeros(70_000_000, dtype=pl.Int64, eager=True)}), statistics=False),
        "rows",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_parquet_is_refused_cheaply(what):
    """One line, and the peak of memory hardly moves, whatever the file claims."""
    data, says = HOSTILE[what]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(IntegrityError, match=says):
        parse_parquet(data, where="t.parquet")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"


def test_columns_are_what_was_asked_for():
    """A column missing, unknown or of another type is named."""
    data = packed(pl.DataFrame({"a": [1.0], "b": [1]}))
    assert parse_parquet(data, where="t", columns={"a": pl.Float64, "b": pl.Int64}).height == 1
    for columns in ({"a": pl.Float64}, {"a": pl.Float32, "b": pl.Int64}, {"a": pl.Float64, "c": pl.Int64}):
        with pytest.raises(IntegrityError, match=r"column [abc] is missing, unknown or of another type"):
            parse_parquet(data, where="t", columns=columns)
    assert MAX_COLUMNS >= 12


def test_the_limit_is_the_callers():
    """A table that is refused under one limit is read under another."""
    data = packed(table(5000))
    with pytest.raises(IntegrityError, match="rows"):
        parse_parquet(data, where="t", limits=Limits(unpacked_bytes=100_000))
    assert parse_parquet(data, where="t", limits=Limits(unpacked_bytes=1 << 20)).height == 5000


GOOD = packed(table(200), row_group_size=64)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_read_or_refused(changes):
    """Any bytes changed: a table or an IntegrityError; no panic, no other error."""
    data = bytearray(GOOD)
    for at, byte in changes:
        data[at] = byte
    with contextlib.suppress(IntegrityError):
        assert parse_parquet(bytes(data), where="t").width == 5
