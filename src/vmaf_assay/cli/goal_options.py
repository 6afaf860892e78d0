"""Options of `assay tune` about bitrate and size."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Goals:
    """Limits on what an encode may cost."""

    max_bitrate: Annotated[
        float | None, typer.Option(metavar="KBPS", help="Largest video bitrate allowed, kbps.")
    ] = None
    max_size: Annotated[
        float | None, typer.Option(metavar="MB", help="Largest file allowed, MB (10^6 bytes).")
    ] = None
    max_ratio: Annotated[
        float | None, typer.Option(metavar="R", help="Largest share of the source's own video allowed, as 0.8.")
    ] = None

    def asked(self) -> dict[str, Any]:
        """As fields of `TuneRequest`."""
        return {
            "max_kbps": self.max_bitrate,
            "max_bytes": None if self.max_size is None else self.max_size * 1e6,
            "max_ratio": self.max_ratio,
        }
