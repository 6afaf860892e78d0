"""One file of all parts, with the source's other streams: complete and checked, or not there at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vmaf_assay.errors import IntegrityError, ToolError
from vmaf_assay.media import part_commands, process
from vmaf_assay.media.demux import read_facts
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.parts import digest_file, list_parts
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.stamps import Stamps, joined_args
from vmaf_assay.records import OnStep
from vmaf_assay.scenes.engine import Kept
from vmaf_assay.tune.final import Written, folder_beside, frame_calls, frame_lines, video_packets
from vmaf_assay.tune.source import seconds
from vmaf_assay.tune.streams_plan import CarryPlan, missing_streams


@dataclass(frozen=True, slots=True)
class Joint:
    """What goes into the joined file."""

    ffmpeg: Ffmpeg
    """The ffmpeg to run."""
    reference: ReferenceInput
    """The source."""
    encoder: EncoderInfo
    carry: CarryPlan
    """Plan of the other streams of the output."""
    stamps: Stamps
    """When each frame of the source is shown."""

    def part_options(self) -> tuple[str, ...]:
        """Options of the plan that belong to the encodes of the parts."""
        wanted = self.encoder.caption_args
        given = self.carry.args
        here = any(given[i : i + len(wanted)] == wanted for i in range(len(given))) if wanted else False
        return tuple(word.replace(":v:0", "") for word in wanted) if here else ()

    def argv(self, listed: Path, out: Path, scratch: Path) -> list[str]:
        """The command that joins the parts of a list into a file."""
        restore = joined_args(self.stamps, self.reference.frame_rate, scratch)
        command = part_commands.join_parts(self.reference, self._streams(), restore)
        return command.argv(self.ffmpeg, progress=True, source=self.reference.path, list=listed, output=out)

    def _streams(self) -> list[str]:
        """The plan's options, the picture from the parts and what is said of it from the source."""
        args = list(self.carry.args)
        rank, args[1] = args[1], "1:v:0"
        if captions := self.encoder.caption_args:
            for i in range(len(args) - len(captions), -1, -1):
                if tuple(args[i : i + len(captions)]) == captions:
                    del args[i : i + len(captions)]
        picture = self.carry.mapped[0]
        # One -map_metadata of a stream ends ffmpeg's own copying for all (n9.0.2).
        said = ["-map_metadata:s:0", f"0:s:{rank.removeprefix('0:')}"]
        for place, stream in enumerate(self.carry.mapped[1:], start=1):
            said += [f"-map_metadata:s:{place}", f"0:s:{stream.index}"]
        said += ["-metadata:s:v:0", f"encoder={self.encoder.name}"]  # not that of the source
        return [*args, *said, "-disposition:v:0", "+".join(picture.disposition) or "0"]


def join(joint: Joint, parts: Sequence[Kept], output: Path, on_step: OnStep | None) -> Written:
    """Join the parts beside the destination, check the result, then rename it into place.

    Raises:
      ToolError: ffmpeg or the disk failed, or a stream is missing.
      IntegrityError: the joined file does not decode to the frames that were scored.
    """
    n_frames = sum(one.part.scored.n_frames for one in parts)
    with folder_beside(output) as folder:
        listed = folder / "parts.ffconcat"
        listed.write_bytes(
            list_parts([(one.path, one.part.scored.n_frames) for one in parts], joint.reference.frame_rate, folder)
        )
        temporary = folder / output.name
        done = process.run(
            joint.argv(listed, temporary, folder), on_line=frame_lines("join the scenes", n_frames, on_step)
        )
        if done.exit_code != 0:
            raise failure(
                f"joining {len(parts)} parts into {output.name}",
                done,
                next_step="an output that ends in .mkv accepts any video and audio",
            )
        check_frames(joint.ffmpeg, temporary, parts, on_step)
        if gone := missing_streams(joint.carry, read_facts(temporary)):
            raise ToolError(
                f"the joined encode of {joint.reference.path.name} lacks {', '.join(map(str, gone))}",
                next_step="report this, and end the output in another of .mkv, .mp4 and .mov",
            )
        packets = video_packets(joint.ffmpeg, temporary)
        written = Written(sum(packets) * 8 / seconds(joint.reference) / 1000, temporary.stat().st_size)
        temporary.replace(output)
    return written


def check_frames(ffmpeg: Ffmpeg, path: Path, parts: Sequence[Kept], on_step: OnStep | None = None) -> None:
    """Raise IntegrityError unless a file decodes to the frames of the parts, each and in order."""
    wanted = tuple(chain.from_iterable(one.part.digests for one in parts))
    found = digest_file(ffmpeg, path, on_frames=frame_calls("check the joined file", len(wanted), on_step))
    if found == wanted:
        return
    if len(found) != len(wanted):
        problem = f"it has {len(found)} frames, and {len(wanted)} were scored"
    else:
        where = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
        problem = f"frame {where} does not decode to what was scored"
    raise IntegrityError(
        f"the joined file is not what was measured: {problem}; it is not kept",
        next_step="report this encoder, or encode the title as a whole, without --by-scene",
    )
