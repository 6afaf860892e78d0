"""The file of a store: who may change it, how it is opened, and what tables it must have."""

import os
import secrets
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

from vmaf_assay.errors import AssayError, ConfigError, CorpusError, ToolError
from vmaf_assay.media.user_folders import shared_by

FILE = "outcomes.sqlite"
SCHEMA = 1
"""`PRAGMA user_version` of a store that this release reads."""
BUSY_S = 30.0
"""Seconds that one process waits for another's write."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE names (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE forecasts (id BLOB PRIMARY KEY, facts BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE outcomes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  source BLOB NOT NULL, host BLOB NOT NULL, day TEXT NOT NULL,
  kind INTEGER NOT NULL, encoder INTEGER NOT NULL, preset INTEGER NOT NULL, measurand INTEGER NOT NULL,
  plain INTEGER NOT NULL, target REAL NOT NULL, confidence REAL NOT NULL, trials INTEGER NOT NULL,
  rate_value REAL NOT NULL, forecast REAL NOT NULL, bound REAL NOT NULL, promised INTEGER NOT NULL,
  measured REAL NOT NULL, whole INTEGER NOT NULL, kbps REAL NOT NULL,
  model INTEGER NOT NULL, calibration INTEGER NOT NULL, tools INTEGER NOT NULL,
  first_frame INTEGER NOT NULL, n_frames INTEGER NOT NULL,
  forecasted BLOB NOT NULL,
  counts INTEGER NOT NULL
);
CREATE INDEX by_source ON outcomes (source, calibration) WHERE promised;
CREATE INDEX watched ON outcomes
  (calibration, encoder, target, measurand, confidence, counts, (measured >= target)) WHERE promised;
CREATE TABLE builds (
  id TEXT NOT NULL, day TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (id, day)
) WITHOUT ROWID;
"""
# The expression in `watched` lets a check read the index alone.


def connect(path: Path) -> sqlite3.Connection:
    """Open a store's file for writing, made if absent."""
    # Made with mode 0600 before SQLite opens it; its log and index take the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    return db


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new store; refuse another file."""
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another process made it meanwhile
            if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                db.execute("ROLLBACK")
                raise no_store(path, "it has other tables")
            for statement in filter(str.strip, _TABLES.split(";")):
                db.execute(statement)
            salt = secrets.token_hex(16)
            db.executemany("INSERT INTO meta VALUES (?, ?)", [("salt", salt), ("forgotten", "0")])
            db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    check_schema(db, path)


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is of a later release (ConfigError) or has other tables (CorpusError)."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        raise ConfigError(f"{path} is of a later release (schema {version})", next_step="update vmaf-assay")
    wanted = {" ".join(part.split()) for part in _TABLES.split(";") if part.strip()}
    sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    found = {" ".join(text.split()) for (text,) in db.execute(sql)}
    if version != SCHEMA or found != wanted:
        raise no_store(path, "its tables are others")


def check_private(folder: Path, path: Path) -> None:
    """Refuse a store that others can change: outcomes decide margins, and checked builds decide promises."""
    what, why = folder, ""
    with suppress(OSError):
        why = shared_by(folder)
    if not why and path.is_symlink():
        what, why = path, "is a link"
    if not why and path.exists():
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            what, why = path, "is not a plain file"
        else:
            what, why = path, shared_by(path)
    if why:
        raise ConfigError(
            f"the store of outcomes {what} {why}",
            next_step="name a folder of your own by ASSAY_OUTCOMES, run `chmod 700` on it, or use --no-outcomes",
        )


def failed(path: Path, error: Exception) -> AssayError:
    """What to raise for an error of SQLite or the disk."""
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return no_store(path, error)
    return ToolError(
        f"the store of outcomes {path} cannot be used: {error}",
        next_step="free space, name another folder by ASSAY_OUTCOMES, or use --no-outcomes",
    )


def no_store(path: Path, why: object) -> CorpusError:
    """What to raise for a file that is no store."""
    return CorpusError(
        f"{path} is not a store of outcomes: {why}",
        next_step="restore it from a copy, or remove it and begin another",
    )
