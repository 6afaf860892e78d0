"""Options of `assay tune` about bitrate and size."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Goals:
    """What an encode may cost, as a goal or as a limit."""

    max_bitrate: Annotated[
        float | None, typer.Option(metavar="KBPS", help="Largest video bitrate allowed, kbps.")
    ] = None
    max_size: Annotated[
        float | None, typer.Option(metavar="MB", help="Largest file allowed, MB (10^6 bytes).")
    ] = None
    max_ratio: Annotated[
        float | None, typer.Option(metavar="R", help="Largest share of the source's own video allowed, as 0.8.")
    ] = None
    target_bitrate: Annotated[
        float | None,
        typer.Option(metavar="KBPS", help="Instead of a VMAF target: the best quality within this video bitrate."),
    ] = None
    target_size: Annotated[
        float | None,
        typer.Option(metavar="MB", help="Likewise within this size of the whole file, sound included."),
    ] = None
    best_within: Annotated[
        bool,
        typer.Option("--best-within", help="If the target is not within the limits: the best that is."),
    ] = False
    two_pass: Annotated[
        bool,
        typer.Option("--two-pass", help="Encode for --target-bitrate or -size in two passes (no promise)."),
    ] = False

    def asked(self) -> dict[str, Any]:
        """As fields of `TuneRequest`."""
        return {
            "max_kbps": self.max_bitrate,
            "max_bytes": None if self.max_size is None else self.max_size * 1e6,
            "max_ratio": self.max_ratio,
            "target_kbps": self.target_bitrate,
            "target_bytes": None if self.target_size is None else self.target_size * 1e6,
            "best_within": self.best_within,
            "two_pass": self.two_pass,
        }
