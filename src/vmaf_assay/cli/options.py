"""Options that several verbs share, each in one wording."""

from pathlib import Path
from typing import Annotated

import typer

Registry = Annotated[Path | None, typer.Option(help="Registry folder (default: the shipped one).")]
TrustPolicy = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Whose signatures to believe ($ASSAY_TRUST_POLICY).")
]
FfmpegPath = Annotated[str | None, typer.Option(help="The ffmpeg to use.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor keep results of encodes ($ASSAY_CACHE).")
]
Filters = Annotated[str, typer.Option("--vf", help="ffmpeg filters first, as crop=..., scale=..., fps=...")]
ProbeSeconds = Annotated[
    str,
    typer.Option(
        metavar="SECONDS|all",
        help="Of a longer source, probe segments of so many seconds in all; `all` probes every frame.",
    ),
]
