"""Records what was delivered, as it is measured. A failed record is a note, and never ends a tune."""

import hmac
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vmaf_assay.errors import AssayError
from vmaf_assay.outcomes.record import Delivered, Outcome
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.outcomes.watch import watch


class Recorder:
    """Writes measured encodes of this machine into a store."""

    def __init__(
        self, store: OutcomeStore, digest: Callable[[Path], str], on_note: Callable[[str], None] | None = None
    ) -> None:
        """Record into `store`.

        Args:
          store: the store.
          digest: SHA-256 of a source's bytes, hex; perhaps known already from the cache.
          on_note: called if a record fails.
        """
        self._store, self._digest, self._on_note = store, digest, on_note
        self._warned = False

    def record(self, source: Path, delivered: Delivered) -> None:
        """Record one measured encode of a source, or of a scene of it, in a transaction of its own.

        Says once if promises of its calibration are being broken.
        """
        try:
            self._store.add([self.outcome(source, delivered)])
            if delivered.promised and self._on_note and not self._warned:
                watched = watch(self._store, delivered.calibration)
                self._warned = watched.broken
                if watched.broken:
                    self._on_note(watched.sentence())
        except (AssayError, OSError) as problem:
            if self._on_note:
                self._on_note(f"not recorded among the outcomes: {problem}")

    def outcome(self, source: Path, delivered: Delivered) -> Outcome:
        """The outcome, with keyed digests of source and machine, and the day."""
        salt = self._store.salt
        return Outcome(
            source=keyed(salt, self._digest(source), 32),
            host=keyed(salt, platform.node(), 16),
            day=datetime.now(UTC).date().isoformat(),
            delivered=delivered,
        )


def keyed(salt: bytes, text: str, n_digits: int) -> str:
    """HMAC-SHA-256 of a text, shortened: who lacks the salt cannot tell which file or machine it is of."""
    return hmac.new(salt, text.encode(errors="surrogateescape"), "sha256").hexdigest()[:n_digits]
