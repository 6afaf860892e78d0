"""The local store of outcomes: one SQLite file in a folder of the user's own (ADR-0435).

One outcome is one transaction, in a write-ahead log that is synced at each commit. A killed process, or a machine
that loses power, loses at most the outcome being written. Several processes may write. Names (encoder,
preset, tools, ...) are kept once, in `names`; a forecast is kept once for all outcomes that it preceded.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmaf_assay.errors import AssayError, ConfigError, CorpusError
from vmaf_assay.media.files import canonical_json
from vmaf_assay.outcomes.file import FILE, check_private, check_schema, connect, failed, no_store, prepare
from vmaf_assay.outcomes.record import Delivered, Forecasted, Outcome, check, forecasted_json, forecasted_of

_COLUMNS = (
    *("id", "source", "host", "day", "kind", "encoder", "preset", "measurand", "plain", "target", "confidence"),
    *("trials", "rate_value", "forecast", "bound", "promised", "measured", "whole", "kbps", "model"),
    *("calibration", "tools", "first_frame", "n_frames", "forecasted", "counts"),
)
_NAMED = ("kind", "encoder", "preset", "measurand", "model", "calibration", "tools")

COUNTED = {"all": 1, "encoder": 2, "target": 4, "measurand": 8}
"""Families of streams (`outcomes/watch.py`), and the bit of `counts` that says that an outcome bets in its."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Promised outcomes of one calibration that agree in everything here."""

    encoder: str
    target: float
    measurand: str
    confidence: float
    counts: int
    """Bits of `COUNTED`."""
    kept: bool
    n: int
    """How many."""


class OutcomeStore:
    """A folder's outcomes; a context manager that closes the file."""

    def __init__(self, folder: Path) -> None:
        """Open it, made if absent.

        Raises:
          ConfigError: others can change the folder or the file, or it is of a later release.
          CorpusError: the file is no store.
          ToolError: the disk failed.
        """
        self.path = folder / FILE
        check_private(folder, self.path)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = connect(self.path)
            prepare(self._db, self.path)
        except (OSError, sqlite3.Error) as error:
            raise failed(self.path, error) from error
        self._ids: dict[str, int] = {}

    def __enter__(self) -> "OutcomeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was recorded is on disk already."""
        self._db.close()

    @property
    def salt(self) -> bytes:
        """Key of the digests of sources and hosts, 16 bytes. Exports lack it."""
        return bytes.fromhex(self._meta("salt"))

    @property
    def forgotten(self) -> int:
        """Outcomes that were erased with `forget`."""
        return int(self._meta("forgotten"))

    def _meta(self, key: str) -> str:
        return str(self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM outcomes").fetchone()[0])

    def add(self, outcomes: Iterable[Outcome]) -> int:
        """Record outcomes in one transaction; those that are there already change nothing.

        Returns:
          How many were new.

        Raises:
          CorpusError: one is invalid; none is recorded.
          ToolError: the disk failed; none is recorded.
        """
        new = 0
        with self._writing() as db:
            touched: set[tuple[bytes, int]] = set()
            for outcome in outcomes:
                row = self._row(check(outcome))
                put = db.execute(
                    f"INSERT OR IGNORE INTO outcomes ({', '.join(_COLUMNS)}) "
                    f"VALUES ({', '.join('?' * len(_COLUMNS))})",
                    [row[name] for name in _COLUMNS],
                )
                if put.rowcount == 1:
                    new += 1
                    of = outcome.delivered.forecasted
                    db.execute(
                        "INSERT OR IGNORE INTO forecasts VALUES (?, ?)", (row["forecasted"], forecasted_json(of))
                    )
                    if outcome.delivered.promised:
                        touched.add((row["source"], row["calibration"]))
            for source, calibration in touched:
                self._count(source, calibration)
        return new

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        one = outcome.delivered
        named = {name: self._id(str(getattr(one, name))) for name in _NAMED if name != "tools"}
        return {
            "id": bytes.fromhex(outcome.id),
            "source": bytes.fromhex(outcome.source),
            "host": bytes.fromhex(outcome.host),
            "day": outcome.day,
            "plain": one.plain,
            "target": one.target,
            "confidence": one.confidence,
            "trials": one.trials,
            "rate_value": one.rate_value,
            "forecast": one.forecast,
            "bound": one.bound,
            "promised": one.promised,
            "measured": one.measured,
            "whole": one.whole,
            "kbps": one.kbps,
            "tools": self._id(canonical_json(dict(one.tools)).decode()),
            "first_frame": one.span[0],
            "n_frames": one.span[1],
            "forecasted": bytes.fromhex(one.forecasted.digest()),
            "counts": 0,
        } | named

    def _id(self, text: str) -> int:
        """The number of a name, given to it on first use; inside a transaction."""
        if text not in self._ids:
            self._db.execute("INSERT OR IGNORE INTO names (text) VALUES (?)", (text,))
            self._ids[text] = self._db.execute("SELECT id FROM names WHERE text = ?", (text,)).fetchone()[0]
        return self._ids[text]

    def _count(self, source: bytes, calibration: int) -> None:
        """Mark which promised outcomes of a source bet: the first of each stream, so that a title bets once."""
        rows = self._db.execute(
            "SELECT seq, encoder, target, measurand, counts FROM outcomes "
            "WHERE promised AND source = ? AND calibration = ? ORDER BY seq",
            (source, calibration),
        ).fetchall()
        seen: set[tuple[str, object]] = set()
        for seq, encoder, target, measurand, before in rows:
            streams = {"all": None, "encoder": encoder, "target": target, "measurand": measurand}
            first = [family for family, of in streams.items() if (family, of) not in seen]
            seen |= {(family, streams[family]) for family in first}
            counts = sum(COUNTED[family] for family in first)
            if counts != before:
                self._db.execute("UPDATE outcomes SET counts = ? WHERE seq = ?", (counts, seq))

    def outcomes(self, *, where: str = "", given: Sequence[object] = ()) -> Iterator[Outcome]:
        """Outcomes in order of arrival.

        Args:
          where: an SQL condition on the columns; names by `name_id`. Never made from a user's text.
          given: values of its question marks.

        Raises:
          CorpusError: one is invalid.
        """
        names = {number: text for number, text in self._db.execute("SELECT id, text FROM names")}
        tools = {number: tuple(json.loads(text).items()) for number, text in names.items() if text[:1] == "{"}
        of: dict[bytes, Forecasted] = {}
        sql = f"SELECT {', '.join(_COLUMNS)} FROM outcomes {f'WHERE {where} ' if where else ''}ORDER BY seq"
        for values in self._db.execute(sql, tuple(given)):
            row = dict(zip(_COLUMNS, values, strict=True))
            key = row["forecasted"]
            if key not in of:
                of = {} if len(of) > _MOST_FORECASTS else of
                found = self._db.execute("SELECT facts FROM forecasts WHERE id = ?", (key,)).fetchone()
                if found is None:
                    raise CorpusError(f"{self.path} lacks a forecast", next_step="restore the file")
                of[key] = forecasted_of(json.loads(found[0]))
            yield _outcome(row, names, tools, of[key])

    def newest(self, n: int) -> list[Outcome]:
        """The last `n` that arrived, newest first."""
        least = "seq > (SELECT coalesce(max(seq), 0) FROM outcomes) - ?"
        return list(self.outcomes(where=least, given=(n,)))[::-1]

    def of_source(self, source: str) -> list[Outcome]:
        """Every outcome of a source, by its keyed digest."""
        return list(self.outcomes(where="source = ?", given=(bytes.fromhex(source),)))

    def of_id(self, beginning: str) -> list[Outcome]:
        """Outcomes whose id begins so."""
        if not re.fullmatch(r"[0-9a-f]{4,32}", beginning):
            return []
        return list(self.outcomes(where="hex(id) LIKE ? || '%'", given=(beginning,)))

    def name_id(self, text: str) -> int:
        """The number of a name, for `where`; -1 if no outcome has it."""
        found = self._db.execute("SELECT id FROM names WHERE text = ?", (text,)).fetchone()
        return -1 if found is None else int(found[0])

    def calibrations(self) -> list[str]:
        """Calibrations that promises were made with, in order of their first outcome."""
        sql = (
            "SELECT names.text FROM outcomes JOIN names ON names.id = calibration "
            "WHERE promised GROUP BY calibration ORDER BY min(seq)"
        )
        return [text for (text,) in self._db.execute(sql)]

    def tallies(self, calibration: str) -> list[Tally]:
        """How often promises of one calibration were kept, in the order in which encoders and targets appeared."""
        names = {number: text for number, text in self._db.execute("SELECT id, text FROM names")}
        sql = (
            "SELECT encoder, target, measurand, confidence, counts, (measured >= target), count(*) "
            "FROM outcomes INDEXED BY watched WHERE promised AND calibration = ? "
            "GROUP BY encoder, target, measurand, confidence, counts, (measured >= target)"
        )
        return [
            Tally(names[encoder], target, names[measurand], confidence, counts, bool(kept), n)
            for encoder, target, measurand, confidence, counts, kept, n in self._db.execute(
                sql, (self.name_id(calibration),)
            )
        ]

    def appeared(self, family: str, calibration: str) -> list[object]:
        """The streams of a family (`encoder`, `target`, `measurand`) in the order of their first promise."""
        if family not in COUNTED or family == "all":
            raise ValueError(f"{family!r} is no family of streams")
        sql = f"SELECT value FROM (SELECT {family} AS value, min(seq) AS at FROM outcomes " + (
            "WHERE promised AND calibration = ? GROUP BY value) ORDER BY at"
        )
        found = [value for (value,) in self._db.execute(sql, (self.name_id(calibration),))]
        if family == "target":
            return found
        names = {number: text for number, text in self._db.execute("SELECT id, text FROM names")}
        return [names[number] for number in found]

    def by_day(self, calibration: str) -> list[tuple[str, str, float, float, int, int]]:
        """Day, encoder, target, confidence, promised outcomes and kept ones, in order of day."""
        names = {number: text for number, text in self._db.execute("SELECT id, text FROM names")}
        sql = (
            "SELECT day, encoder, target, confidence, count(*), sum(measured >= target) FROM outcomes "
            "WHERE promised AND calibration = ? GROUP BY day, encoder, target, confidence ORDER BY day"
        )
        return [
            (day, names[encoder], target, confidence, n, kept)
            for day, encoder, target, confidence, n, kept in self._db.execute(sql, (self.name_id(calibration),))
        ]

    def forget(self, *, source: str = "", before: str = "", everything: bool = False) -> int:
        """Erase outcomes, and the forecasts that only they had; the file is rewritten without them.

        Args:
          source: keyed digest of a source, or the beginning of it (8 digits or more).
          before: a day; everything measured earlier is erased.
          everything: erase all.

        Returns:
          How many were erased.
        """
        where: str = "1"
        given: tuple[str, ...] = ()
        if not everything:
            where, given = ("hex(source) LIKE ? || '%'", (source,)) if source else ("day < ?", (before,))
        with self._writing() as db:
            of = f"SELECT DISTINCT source, calibration FROM outcomes WHERE promised AND {where}"
            touched = db.execute(of, given).fetchall()
            gone = db.execute(f"DELETE FROM outcomes WHERE {where}", given).rowcount
            db.execute("DELETE FROM forecasts WHERE id NOT IN (SELECT forecasted FROM outcomes)")
            db.execute("UPDATE meta SET value = value + ? WHERE key = 'forgotten'", (gone,))
            for one, calibration in touched:
                self._count(one, calibration)
        try:
            self._db.execute("VACUUM")  # else the erased bytes stay in free pages
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise failed(self.path, error) from error
        return gone

    def merge(self, other: Path) -> tuple[int, int]:
        """Take over every outcome of another folder that is not here; its own order of arrival is kept.

        Checked builds are not taken over: another machine's ffmpeg is another one.

        Returns:
          How many it has, and how many were new here.

        Raises:
          ConfigError: it is this store, or there is none.
          CorpusError: it is not a store, or one of its outcomes is invalid; nothing is taken over.
        """
        path = other / FILE if other.is_dir() else other
        if not path.is_file():
            raise ConfigError(f"{other} holds no {FILE}", next_step="name a folder of outcomes")
        if path.samefile(self.path):
            raise ConfigError(f"{path} is the store itself", next_step="name another folder")
        with read_only(path) as theirs:
            n = len(theirs)
            return n, self.add(theirs.outcomes())

    def build(self, build_id: str) -> dict[str, Any] | None:
        """The newest check of a build of ffmpeg (`outcomes/builds.py`); None if it was never checked."""
        sql = "SELECT day, facts FROM builds WHERE id = ? ORDER BY day DESC LIMIT 1"
        found = self._db.execute(sql, (build_id,)).fetchone()
        return None if found is None else json.loads(found[1]) | {"day": found[0]}

    def add_build(self, build_id: str, day: str, facts: dict[str, Any]) -> None:
        """Record the check of a build; it replaces one of the same day."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO builds VALUES (?, ?, ?)", (build_id, day, canonical_json(facts).decode())
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its beginning; all or nothing."""
        known = dict(self._ids)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except BaseException as error:
            self._ids = known  # numbers given to names in this transaction are gone with it
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise failed(self.path, error) from error
            raise


_MOST_FORECASTS = 10_000
"""Forecasts held in memory while a store is read."""


class _ReadOnly(OutcomeStore):
    """Another's store, opened without any right to change it."""

    def __init__(self, path: Path) -> None:
        self.path, self._ids = path, {}
        wal = path.with_name(f"{path.name}-wal")
        # Without a log the file is all there is, and needs no files beside it.
        how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
        try:
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None)
            self._db.execute("PRAGMA trusted_schema = OFF")
            self._db.execute("PRAGMA cell_size_check = ON")
            check_schema(self._db, path)
        except sqlite3.Error as error:
            raise no_store(path, error) from error


@contextmanager
def read_only(path: Path) -> Iterator[OutcomeStore]:
    """A store of any owner, to be read; raises CorpusError if it is not one or a page of it is damaged."""
    store = _ReadOnly(path)
    try:
        yield store
    except sqlite3.Error as error:
        raise no_store(path, error) from error
    finally:
        store.close()


def _outcome(
    row: dict[str, Any], names: dict[int, str], tools: dict[int, tuple[Any, ...]], forecasted: Forecasted
) -> Outcome:
    try:
        named: dict[str, Any] = {name: names[row[name]] for name in _NAMED if name != "tools"}
        delivered = Delivered(
            **named,
            plain=bool(row["plain"]),
            target=row["target"],
            confidence=row["confidence"],
            trials=row["trials"],
            rate_value=row["rate_value"],
            forecast=row["forecast"],
            bound=row["bound"],
            promised=bool(row["promised"]),
            measured=row["measured"],
            whole=bool(row["whole"]),
            kbps=row["kbps"],
            tools=tools[row["tools"]],
            forecasted=forecasted,
            span=(row["first_frame"], row["n_frames"]),
        )
        return check(Outcome(row["source"].hex(), row["host"].hex(), row["day"], delivered))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, AssayError):
            raise
        raise CorpusError(f"an outcome in a store is invalid: {error}", next_step="remove that store") from error
