"""Reading untrusted Parquet files.

Polars trusts the numbers in a file. A kilobyte that claims a billion rows, or a page of two gigabytes, makes it
allocate that memory first. Some wrong numbers make its Rust code panic. So the footer and every page header are
parsed and bounded here first (Thrift's compact protocol, parquet-format 2.9). Only then does polars read the
bytes.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from vmaf_assay.errors import IntegrityError

MAX_COLUMNS = 64
"""Most columns of a table read here; held-out predictions have 12."""

MAX_TEXT_BYTES = 1000
"""Longest text in a table, such as a source's name. A dictionary can repeat one long text a million times."""

POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises. A damaged file can make it panic, which is not a PolarsError (polars 2.1.0, 2026-11-24)."""

_RESTORE = "restore the file"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a table."""

    unpacked_bytes: int = 1 << 30
    """Sum of its pages, decompressed; and of its columns in memory, at 16 bytes a value."""


def parse_parquet(
    data: bytes, *, where: str, columns: Mapping[str, Any] | None = None, limits: Limits | None = None
) -> pl.DataFrame:
    """A table from the bytes of a Parquet file, after checking all its sizes.

    Args:
      data: the file's bytes.
      where: names it in errors.
      columns: the columns it must have, with their types, and no others; None accepts any flat table.
      limits: what it may cost.

    Raises:
      IntegrityError: not Parquet, cut, nested, too large unpacked, with other columns, or damaged.
    """
    try:
        _check_claims(data, limits or Limits())
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise _refused(where, str(error) if isinstance(error, _BadThriftError) else "it is damaged") from error
    try:
        table = pl.read_parquet(io.BytesIO(data))
    except (OSError, *POLARS_ERRORS) as error:
        raise _refused(where, "it is damaged") from error
    if columns is not None and dict(table.schema) != dict(columns):
        odd = sorted(set(table.schema.items()) ^ set(columns.items()), key=str)
        raise _refused(where, f"column {odd[0][0]} is missing, unknown or of another type" if odd else "order")
    _check_texts(table, where)
    return table


def parquet_metadata(data: bytes, *, where: str) -> dict[str, str]:
    """The key-value metadata of a Parquet file's footer. Raises IntegrityError if it cannot be read."""
    try:
        entries = _footer(data).get(5, [])
        return {entry[1].decode("utf-8"): entry[2].decode("utf-8") for entry in entries}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise _refused(where, "it is damaged") from error


def _refused(where: str, why: str) -> IntegrityError:
    return IntegrityError(f"{where} cannot be read: {why}", next_step=_RESTORE)


def _check_texts(table: pl.DataFrame, where: str) -> None:
    for name, kind in table.schema.items():
        if kind in (pl.String, pl.Binary):
            column = table[name] if kind == pl.Binary else table[name].cast(pl.Binary)
            if int(column.bin.size().max() or 0) > MAX_TEXT_BYTES:  # type: ignore[arg-type]
                raise _refused(where, f"a text of column {name[:40]} is over {MAX_TEXT_BYTES} bytes")


class _BadThriftError(ValueError):
    """The file is not acceptable."""


MAGIC = b"PAR1"


def _footer(data: bytes) -> dict[int, Any]:
    if len(data) < 12 or data[:4] != MAGIC or data[-4:] != MAGIC:
        raise _BadThriftError("it is not a Parquet file")
    size = int.from_bytes(data[-8:-4], "little")
    if size > len(data) - 12:
        raise _BadThriftError("its footer is longer than the file")
    return _Thrift(data, len(data) - 8 - size, len(data) - 8).struct()


def _check_claims(data: bytes, limits: Limits) -> None:
    """Check every number of a file that makes a reader allocate memory."""
    footer = _footer(data)
    root, *leaves = footer[2]
    if len(leaves) > MAX_COLUMNS or not leaves:
        raise _BadThriftError(f"it has {len(leaves)} columns, at most {MAX_COLUMNS} are read")
    # Field 3 of a schema element is its repetition (2: a list), 5 its number of children, 7 a fixed width.
    if root.get(5) != len(leaves) or any(leaf.get(5) or leaf.get(3) == 2 or 1 not in leaf for leaf in leaves):
        raise _BadThriftError("its columns are nested")
    n_rows = sum(_size(group[3]) for group in footer.get(4, []))
    if n_rows != footer[3] or n_rows * len(leaves) * 16 > limits.unpacked_bytes:
        raise _BadThriftError(f"it claims {footer[3]} rows, too many or not those of its row groups")
    left = limits.unpacked_bytes
    for group in footer.get(4, []):
        if len(group[1]) != len(leaves):
            raise _BadThriftError("a row group lacks a column")
        for column in group[1]:
            left -= _check_column(data, column, group[3])
            if left < 0:
                raise _BadThriftError(f"it unpacks to over {limits.unpacked_bytes} bytes")


def _size(value: Any) -> int:  # noqa: ANN401 - Thrift
    if not isinstance(value, int) or value < 0:
        raise _BadThriftError("a size is negative")
    return value


def _check_column(data: bytes, column: dict[int, Any], n_rows: int) -> int:
    """Walk the page headers of one column chunk; returns the unpacked size of its pages, bytes."""
    facts = column[3]
    if 1 in column or _size(facts[5]) != n_rows:
        raise _BadThriftError("a column lies elsewhere or has another number of rows")
    begin = min(_size(facts[9]), _size(facts[11])) if facts.get(11) else _size(facts[9])
    end = begin + _size(facts[7])
    if begin < len(MAGIC) or end > len(data) - 8:
        raise _BadThriftError("a column lies outside the file")
    at, unpacked, n_values = begin, 0, 0
    while at < end:
        reader = _Thrift(data, at, end)
        page = reader.struct()
        at = reader.at + _size(page[3])
        if at > end:
            raise _BadThriftError("a page is longer than its column")
        unpacked += _size(page[2])
        header = page.get(5) or page.get(8)
        if header is not None:
            n_values += _size(header[1])
        elif _size(page[7][1]) * 4 > max(page[2], n_rows) * 8:
            raise _BadThriftError("a dictionary has more entries than its page can hold")
    if n_values != n_rows:
        raise _BadThriftError("its pages hold another number of rows than it claims")
    return unpacked


_MAX_DEPTH = 12
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12


class _Thrift:
    """Thrift's compact protocol, as far as Parquet needs it: structs as dicts by field number."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """One struct, to its stop byte."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            step = head >> 4
            number = number + step if step else self._zigzag()
            if number in fields:
                raise _BadThriftError("a field comes twice")
            kind = head & 15
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:  # noqa: ANN401 - any Thrift value
        if depth > _MAX_DEPTH:
            raise _BadThriftError("it nests too deeply")
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        raise _BadThriftError("it is damaged")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        if size > self.end - self.at:  # every element takes a byte or more
            raise _BadThriftError("a list is longer than the file")
        return [self._value(head & 15, depth) for _ in range(size)]

    def _byte(self) -> int:
        if self.at >= self.end:
            raise _BadThriftError("it is cut short")
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, size: int) -> bytes:
        if size > self.end - self.at:
            raise _BadThriftError("it is cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _BadThriftError("a number has over ten bytes")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
