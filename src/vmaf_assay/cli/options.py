"""Options that several verbs share, each in one wording."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmaf_assay.api import Settings
    from vmaf_assay.cli.render import Job
    from vmaf_assay.records import Measurand

Registry = Annotated[Path | None, typer.Option(help="Registry folder (default: the shipped one).")]
TrustPolicy = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Whose signatures to accept ($ASSAY_TRUST_POLICY).")
]
FfmpegPath = Annotated[str | None, typer.Option(help="The ffmpeg to use.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Do not use the cache of encode results ($ASSAY_CACHE).")
]
NoOutcomes = Annotated[
    bool, typer.Option("--no-outcomes", help="Do not record what is measured ($ASSAY_OUTCOMES).")
]
Filters = Annotated[str, typer.Option("--vf", help="ffmpeg filters first, as crop=..., scale=..., fps=...")]
Stream = Annotated[
    int | None,
    typer.Option("--stream", metavar="N", help="The source's video stream 0:N (default: the first that moves)."),
]
ProbeSeconds = Annotated[
    str,
    typer.Option(
        metavar="SECONDS|all",
        help="Of a longer source, probe segments of this many seconds in all; `all` probes every frame.",
    ),
]
Page = Annotated[Path | None, typer.Option("--report", metavar="PAGE", help="Write an HTML page too.")]
TargetVmaf = Annotated[
    float, typer.Option("--target-vmaf", metavar="POINTS", help="Mean VMAF to reach, 0 to 100 points.")
]
Confidence = Annotated[
    float,
    typer.Option("--quality-confidence", metavar="SHARE", help="Probability of reaching it, as 0.95 for 95 %."),
]
Verify = Annotated[bool, typer.Option("--verify", help="Measure every frame of the output.")]
UnsafeArgs = Annotated[
    bool, typer.Option("--unsafe-args", help="Pass on encoder options and filters that may open files.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
Container = Annotated[str, typer.Option(help="Container in --out-dir: mkv, mp4, mov or webm.")]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options that say how a verb runs, not what it answers."""

    registry: Path | None
    trust_policy: Path | None
    ffmpeg: str | None
    no_cache: bool = False
    no_outcomes: bool = False
    report: Path | None = None
    as_json: bool = False

    def settings(self, job: "Job", measurand: "Measurand") -> "Settings":
        """What the Python interface runs with; loads a forecast, and finds ffmpeg and the cache."""
        from vmaf_assay.api import find_ffmpeg, load_forecast
        from vmaf_assay.cli.render import note
        from vmaf_assay.media import user_folders

        return {
            "ensemble": load_forecast(measurand, registry=self.registry, trust_policy=self.trust_policy),
            "ffmpeg": find_ffmpeg(self.ffmpeg),
            "cache_dir": None if self.no_cache else user_folders.cache_dir(),
            "outcomes_dir": None if self.no_outcomes else user_folders.outcomes_dir(),
            "on_step": job.on_step,
            "on_left": job.on_left,
            "on_note": note,
        }


def end(code: int) -> None:
    """Leave with an exit code; 0 goes on."""
    if code:
        raise typer.Exit(code)


def seconds_of(text: str) -> float:
    """`--probe-seconds` as a number; 0 for `all`.

    >>> seconds_of("all"), seconds_of("90")
    (0.0, 90.0)
    """
    from vmaf_assay.errors import ConfigError

    try:
        return 0.0 if text == "all" else float(text)
    except ValueError as error:
        raise ConfigError(
            f"--probe-seconds is a number of seconds or `all`, not {text!r}", next_step="leave it out for 60"
        ) from error


def container_of(text: str) -> str:
    """`--container` as a file name ends; raises ConfigError for an unknown one."""
    from vmaf_assay.errors import ConfigError
    from vmaf_assay.media.streams import CONTAINERS

    suffix = f".{text.lower().lstrip('.')}"
    if suffix not in CONTAINERS:
        raise ConfigError(
            f"unknown container {text!r}", next_step=f"choose one of {', '.join(name[1:] for name in CONTAINERS)}"
        )
    return suffix
