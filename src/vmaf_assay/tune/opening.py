"""How long a job takes, before its source has been read: by what the header says."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import AssayError
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.files import not_a_file
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.records import OnStep
from vmaf_assay.tune.progress import Stage

OPEN_COST = 0.004
"""Reading a frame's packet, in units of `progress.Stage.cost`."""

_PARTS = 1000
"""Steps of the bar while a source is read."""


def opening(source: Path, on_step: OnStep | None) -> Callable[[float], None]:
    """Says how much of a source is read, from nothing on."""

    def on_share(share: float) -> None:
        if on_step:
            on_step(f"open {source.name}", round(share * _PARTS), _PARTS)

    on_share(0.0)
    return on_share


def header_reference(source: Path) -> ReferenceInput | None:
    """What the header of a source says of its length and size; None if it does not, or cannot be read."""
    if not_a_file(source) or not source.is_file():
        return None
    try:
        facts = read_facts(source)
    except AssayError:
        return None  # opening it will say why
    for stream in facts.streams:
        video = stream.video
        rate = video and (video.average_rate or video.guessed_rate)
        if video and rate and facts.duration_s and not stream.still:
            n_frames = max(2, round(Fraction(facts.duration_s) * rate))
            return ReferenceInput(source, rate, n_frames, (video.width, video.height))
    return None


def open_stage(reference: ReferenceInput) -> Stage:
    """Reading a source."""
    return Stage("open", reference.n_frames, OPEN_COST, "open")
