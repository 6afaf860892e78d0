"""When each frame of a source is shown, and the options that give an encode's packets those times again.

Trials run at even times, because x264, x265 and VVenC spend bits by how long a frame is shown. The final encode is
the same encode. Only its packets are put where the source has its frames, by ffmpeg's `setts` bitstream filter
(ADR-0401).
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from vmaf_assay.errors import MediaError
from vmaf_assay.media import commands, process
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.reference import ReferenceInput

_FINE = 48_000
"""Ticks a second at least, where a constant rate needs a finer unit than one frame for the time of its first."""

_LONGEST_ARGUMENT = 30_000
"""Characters; Windows takes 32,767 in a whole command."""

_NO_TIME = -(1 << 63)


@dataclass(frozen=True, slots=True)
class Stamps:
    """When each frame is shown, counted as ffmpeg counts the file's other streams."""

    ticks: tuple[int, ...]
    """Ascending, one a frame, each later than the one before; empty if the source has no times."""
    tick: Fraction
    """Seconds of one."""

    def is_even(self, frame_rate: Fraction) -> bool:
        """Whether frame n is n frames after the first, within the rounding of the container."""
        period = 1 / (frame_rate * self.tick)
        # A stamp is rounded once, the first one too; 2 % more for muxers that round down.
        slack = Fraction(3, 2) + period / 50
        return all(abs(at - self.ticks[0] - n * period) <= slack for n, at in enumerate(self.ticks))


def frame_times(ffmpeg: Ffmpeg, reference: ReferenceInput, scratch: Path) -> Stamps:
    """Decode a source, through the user's filters, and note when each frame is shown.

    Times that are missing, or shared by half of the frames, give no stamps at all. Two frames at one time are put
    one tick apart.

    Raises:
      ToolError: ffmpeg failed.
      MediaError: the source gives another number of frames than were counted.
    """
    listed = scratch / "times.txt"
    done = process.run(commands.frame_times(reference).argv(ffmpeg, source=reference.path, output=listed))
    if done.exit_code != 0:
        raise failure(f"reading the times of {reference.path.name}", done)
    return stamps_of(listed.read_text(), reference)


def stamps_of(text: str, reference: ReferenceInput) -> Stamps:
    """The stamps in lines of `PTS TIME_BASE`, one a frame; see `frame_times`."""
    rows = [line.split() for line in text.splitlines()]
    if len(rows) != reference.n_frames:
        raise MediaError(
            f"{reference.path.name} gives {len(rows)} frames, where {reference.n_frames} were counted",
            next_step="export the file again",
        )
    given = sorted(int(at) for at, _ in rows)
    # Half of the frames at a time of another one's: the container has no times.
    if given[0] == _NO_TIME or 2 * len(set(given)) <= len(given):
        return Stamps((), Fraction(1))
    ticks = given[:1]
    for at in given[1:]:
        ticks.append(max(at, ticks[-1] + 1))
    return Stamps(tuple(ticks), Fraction(rows[0][1]))


def restore_args(stamps: Stamps, frame_rate: Fraction, scratch: Path) -> list[str]:
    """Output options that put packets of an even encode at the source's times; a long list lies in `scratch`.

    Args:
      stamps: of the source's frames.
      frame_rate: of the encode, whose frame n is at n / frame_rate.
      scratch: a folder that lives as long as the command runs.

    Decode times go the same way, so that they stay ascending and no later than the picture's. Those before the
    first frame are a mean frame apart, or less.
    """
    if not stamps.ticks or (stamps.ticks[0] == 0 and stamps.is_even(frame_rate)):
        return []
    if stamps.is_even(frame_rate):
        rate = frame_rate
        unit = rate.numerator * -(-_FINE // rate.numerator)
        start = round(stamps.ticks[0] * stamps.tick * unit)
        return ["-bsf:v:0", f"setts=time_base=1/{unit}:prescale=1:pts=PTS+{start}:dts=DTS+{start}"]
    text = _setts(stamps, frame_rate)
    if len(text) < _LONGEST_ARGUMENT:
        return ["-bsf:v:0", text]
    path = scratch / "times.setts"
    path.write_text(text)
    return ["-/bsf:v:0", str(path.resolve())]


def joined_args(stamps: Stamps, frame_rate: Fraction, scratch: Path) -> list[str]:
    """As `restore_args`, for packets whose own times are rounded: those of parts joined from Matroska files.

    An encode has exact times, which may stay. Here the number of each frame is found first, in every case.
    """
    if stamps.ticks and not stamps.is_even(frame_rate):
        return restore_args(stamps, frame_rate, scratch)
    rate = frame_rate
    start = round(stamps.ticks[0] * stamps.tick * rate.numerator * _FINE) if stamps.ticks else 0
    if start == 0:
        return ["-bsf:v:0", f"setts=time_base={rate.denominator}/{rate.numerator}:prescale=1:pts=PTS:dts=DTS"]
    unit = rate.numerator * -(-_FINE // rate.numerator)
    start = round(stamps.ticks[0] * stamps.tick * unit)
    step = unit // rate.numerator * rate.denominator
    each = [f"{name}='round({name.upper()}/{step})*{step}+{start}'" for name in ("pts", "dts")]
    return ["-bsf:v:0", f"setts=time_base=1/{unit}:prescale=1:{':'.join(each)}"]


def _setts(stamps: Stamps, frame_rate: Fraction) -> str:
    """The filter as text: which frame a packet's time is of, then that frame's time, by bisection over runs."""
    tick, runs = stamps.tick, _runs(stamps.ticks)
    per_frame = frame_rate * tick  # frames a tick
    number = f"st(0,round({{}}*{per_frame.numerator}/{per_frame.denominator}))"
    # A first frame that is shown for long would put the decode times before it far back.
    small = max(1, min(runs[0][2], round(1 / per_frame)))
    found = f"if(lt(ld(0),0),{runs[0][1]}+ld(0)*{small},{_bisect(runs, 0, len(runs))})"
    each = [f"{name}='{number.format(name.upper())};{found}'" for name in ("pts", "dts")]
    return f"setts=time_base={tick.numerator}/{tick.denominator}:prescale=1:{':'.join(each)}"


def _runs(ticks: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(first frame, its time, ticks a frame) of each run of evenly spaced frames, ascending."""
    runs: list[tuple[int, int, int]] = []
    step = 0
    for index, (at, after) in enumerate(pairwise(ticks)):
        if not runs or after - at != step:
            step = after - at
            runs.append((index, at, step))
    return runs or [(0, ticks[0], 1)]


def _bisect(runs: list[tuple[int, int, int]], low: int, high: int) -> str:
    if high - low == 1:
        first, at, step = runs[low]
        return f"{at}+(ld(0)-{first})*{step}"
    middle = (low + high) // 2
    return f"if(lt(ld(0),{runs[middle][0]}),{_bisect(runs, low, middle)},{_bisect(runs, middle, high)})"
