"""Every ffmpeg command that encodes, decodes or scores, made by pure functions: what runs and what is hashed.

A `Command` holds `<roles>` where a run puts paths, counts and threads. Keys of cells and cached measurements
are digests of `Command.hashed()`, so a change to any option or graph here changes the keys that depend on it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmaf_assay.media.encoders import EncoderInfo, join_args
from vmaf_assay.media.ffmpeg import Ffmpeg, guards
from vmaf_assay.media.reference import ReferenceInput, chain, from_rgb_filters, normalise_filters
from vmaf_assay.media.sync import SIGNATURE_FILTER

Threads = Literal["single", "auto"]
"""Threads that decode and score. The encoder's are its record's `fixed_args`, the same everywhere."""

FORMAT = 2
"""Raise it when a command's rows change for a reason that its options do not show."""

VMAF_MODEL = "vmaf_v0.6.1"
"""The libvmaf model that a score is of unless another is asked for."""

NO_STEREO = "sidedata=mode=delete:type=STEREO3D"
"""libx264 writes the layout of 3D video into its stream. What ffmpeg then decodes has it twice: "File exists"."""

SOURCE, DISTORTED, OUTPUT = "<source>", "<distorted>", "<output>"
_FRAMES, _THREADS, _VMAF_THREADS = "<frames>", "<threads>", "<vmaf-threads>"

PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.25")
"""Makes ffmpeg say on stdout how many frames are done."""

_ONE_BY_ONE = ("-fps_mode", "passthrough")
_TEST_PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25")
# 640x360: above the smallest picture that any encoder of the table accepts (AV1 on NVENC wants 160x64 or more).


@dataclass(frozen=True, slots=True)
class Command:
    """An ffmpeg command without its ffmpeg, paths and machine."""

    args: tuple[str, ...]
    """Options and files; `<roles>` stand for what differs between machines."""

    def argv(
        self,
        ffmpeg: Ffmpeg,
        *,
        level: str = "error",
        progress: bool = False,
        n_frames: int = 0,
        threads: Threads = "auto",
        **files: Path | str,
    ) -> list[str]:
        """The command as it runs.

        Args:
          ffmpeg: which to run.
          level: of its log.
          progress: whether it says how many frames are done.
          n_frames: frames of the reference, where the command limits them.
          threads: that decode and score; neither changes a byte or a score.
          files: paths by role, `source=...`; a text is put in as it is.
        """
        given = {f"<{role}>": _file(path) for role, path in files.items()}
        given |= {_FRAMES: str(n_frames), _THREADS: "1" if threads == "single" else "0"}
        # With one cell a core, more libvmaf threads only compete with each other.
        vmaf_threads = "1" if threads == "single" else str(max(1, os.cpu_count() or 1))
        said = PROGRESS if progress else ()
        filled = (given.get(arg, arg).replace(_VMAF_THREADS, vmaf_threads) for arg in self.args)
        return [*ffmpeg.base_argv(level=level), *said, *filled]

    def hashed(self) -> list[str]:
        """What a key is made of: the format, and every option in order."""
        return [f"format {FORMAT}", *self.args]


def _file(path: Path | str) -> str:
    return str(path.resolve()) if isinstance(path, Path) else path


def encoder_args(encoder: EncoderInfo, preset: str, rate_value: float) -> list[str]:
    """Argv of one constant-quality encode, from `-c:v` on.

    The same in probes, trials, corpus cells and final encodes, on any number of cores. Headers go where a file has
    them: in every packet of a bare stream, x265's are 2.4 kB that no file holds.

    Args:
      encoder: entry of the table of encoders.
      preset: one of its presets.
      rate_value: on its own scale, inside its declared range.
    """
    args = ["-c:v", encoder.name, *encoder.preset_args(encoder.check_preset(preset))]
    args += encoder.rate_args(encoder.check_rate(rate_value))
    args += [*encoder.fixed_args, "-flags:v", "+global_header", "-pix_fmt", encoder.pix_fmt]
    return join_args(encoder, [*args, *encoder.extra_args])


def libvmaf_filter(models: Sequence[str] = (VMAF_MODEL,), every: int = 1) -> str:
    """The libvmaf call, log into `vmaf.json` of the working folder; inputs [distorted][reference].

    The log names the first model's score `vmaf`, and the others' by their model. No model's score depends on the
    models beside it.

    `shortest=1:repeatlast=0`: a missing frame must end the comparison, not be replaced by its neighbour.
    Of `every` frames the first is scored; motion is measured on all.
    """
    first, *others = models
    # Two backslashes: the graph's parser takes one off, the filter's options the other.
    named = [rf"version={first}\\:name=vmaf", *(rf"version={model}\\:name={model}" for model in others)]
    loaded = "|".join(named) if others else f"version={first}"
    said = f":n_subsample={every}" if every > 1 else ""
    return (
        f"libvmaf=model={loaded}:shortest=1:repeatlast=0:n_threads={_VMAF_THREADS}"
        f":log_fmt=json:log_path=vmaf.json{said}"
    )


def compare_graph(models: Sequence[str] = (VMAF_MODEL,), every: int = 1) -> str:
    """Score [d] against [r], and make the signatures that tell whether they are in sync."""
    return (
        f"[d]split[d1][d2];[r]split[r1][r2];[d1][r1]{libvmaf_filter(models, every)}[o];"
        f"[d2]{SIGNATURE_FILTER}[ds];[r2]{SIGNATURE_FILTER}[rs]"
    )


def compare_outputs(*limit: str) -> list[str]:
    """Outputs of `compare_graph`; `limit` is of the frames of the reference that are read."""
    raw = [*_ONE_BY_ONE, "-f", "rawvideo"]
    scored = ["-map", "[o]", "-f", "null", "-"]
    return [*scored, "-map", "[ds]", *raw, "distorted.gray", "-map", "[rs]", *limit, *raw, "reference.gray"]


def encode_and_score(
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    models: Sequence[str] = (VMAF_MODEL,),
    *,
    every: int = 1,
) -> Command:
    """Encode, decode through a loopback decoder, and score, in one process; logs go to the working folder.

    The sizes counted are those of packets as a file holds them (`EncoderInfo.file_bsf`). Of `every` frames the
    first is scored.
    """
    graph = (
        f"[dec:0]{chain(reference.decoded_filters())},{reference.tick()}[d];"
        f"[0:{reference.stream_map}]{chain(reference.filters())},{reference.tick()}[r];"
        f"{compare_graph(models, every)}"
    )
    filters = chain([*reference.encode_filters(), NO_STEREO, *encoder.upload()])
    counted = ["-bsf:v", encoder.file_bsf] if encoder.file_bsf else []
    return Command(
        (
            *encoder.device_args,
            "-threads",
            _THREADS,
            *reference.input_args,
            "-i",
            SOURCE,
            "-map",
            f"0:{reference.stream_map}",
            *_ONE_BY_ONE,
            "-frames:v",
            _FRAMES,
            "-vf",
            filters,
            *encoder_args(encoder, preset, rate_value),
            *counted,
            "-vstats_file",
            "frames.txt",
            "-vstats_version",
            "2",
            "-stats_mux_pre",
            "packets.txt",
            "-stats_mux_pre_fmt",
            "{pts} {size}",
            "-f",
            "null",
            "-",
            "-threads",
            _THREADS,
            "-dec",
            "0:0",
            "-filter_complex",
            graph,
            *compare_outputs("-frames:v", _FRAMES),
        )
    )


def score_pair(reference: ReferenceInput, models: Sequence[str] = (VMAF_MODEL,)) -> Command:
    """Score a finished encode against its reference, frame n against frame n."""
    left, right = chain(reference.distorted_filters()), chain(reference.filters())
    tick = reference.tick()
    graph = f"[0:v:0]{left},{tick}[d];[1:{reference.stream_map}]{right},{tick}[r];{compare_graph(models)}"
    return Command(
        (
            *guards(),
            "-i",
            DISTORTED,
            *reference.input_args,
            "-i",
            SOURCE,
            "-filter_complex",
            graph,
            *compare_outputs(),
        )
    )


def final_encode(
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    *,
    streams: Sequence[str],
    restore: Sequence[str] = (),
    stereo: bool = True,
) -> Command:
    """The trial's encode of every frame, with the source's other streams, into a file.

    Args:
      reference: the source.
      encoder: entry of the table of encoders.
      preset: one of its presets.
      rate_value: on its own scale.
      streams: output options that say what else goes in; the picture is the first output stream.
      restore: output options that give packets the source's times again (`media/stamps.py`).
      stereo: whether the encoder is told the layout of 3D video.
    """
    told = [] if stereo else [NO_STEREO]
    filters = chain([*reference.encode_filters(), *told, *encoder.upload()])
    encode = _first_video_only(encoder_args(encoder, preset, rate_value))
    return Command(
        (
            *encoder.device_args,
            *reference.input_args,
            "-i",
            SOURCE,
            *streams,
            "-filter:v:0",
            filters,
            "-fps_mode:v:0",
            "passthrough",
            *encode,
            *restore,
            OUTPUT,
        )
    )


def _first_video_only(args: list[str]) -> list[str]:
    """Options of the encoder for the first video stream only, so that a cover stays a copy."""
    own = {"-c:v": "-c:v:0", "-pix_fmt": "-pix_fmt:v:0", "-flags:v": "-flags:v:0"}
    return [own.get(arg, arg) for arg in args]


def decode_to_y4m(
    *,
    before: Sequence[str],
    after: Sequence[str],
    frame_rate: str,
    size: tuple[int, int],
    rgb_matrix: str = "",
    stream_map: str = "v:0",
    pix_fmt: str = "yuv420p",
) -> Command:
    """Decode a source into a Y4M file of one pixel format at one rate; options before and after its `-i`."""
    filters = [*from_rgb_filters(rgb_matrix), *normalise_filters(frame_rate, size, pix_fmt)]
    # Y4M of more than 8 bits is an extension that ffmpeg writes only when told to.
    deep = () if pix_fmt == "yuv420p" else ("-strict", "-1")
    return _decode_source(before, after, stream_map, filters, (*deep, "-f", "yuv4mpegpipe"))


def decode_to_looks(
    *,
    before: Sequence[str],
    after: Sequence[str],
    frame_rate: str,
    size: tuple[int, int],
    rgb_matrix: str = "",
    stream_map: str = "v:0",
) -> Command:
    """Decode a source as `decode_to_y4m` does, and shrink every frame to the grey signature of `media/sync.py`."""
    filters = [*from_rgb_filters(rgb_matrix), *normalise_filters(frame_rate, size), SIGNATURE_FILTER]
    return _decode_source(before, after, stream_map, filters, ("-f", "rawvideo"))


def _decode_source(
    before: Sequence[str], after: Sequence[str], stream_map: str, filters: Sequence[str], to_file: Sequence[str]
) -> Command:
    mapped = ("-map", f"0:{stream_map}", *_ONE_BY_ONE)
    return Command((*before, "-i", SOURCE, *mapped, *after, "-vf", chain(filters), *to_file, OUTPUT))


def look_through(reference: ReferenceInput) -> Command:
    """Decode all of a title, at the size of a signature, into raw grey frames."""
    filters = chain([*_seen(reference), SIGNATURE_FILTER, *_counted(reference)])
    return Command((*_decode(reference), "-vf", filters, "-f", "rawvideo", OUTPUT))


def cut_out(reference: ReferenceInput, pieces: Sequence[tuple[int, int]]) -> Command:
    """Decode a title once and write frames [first, last) of each piece into a lossless file of its own.

    Into Matroska, which keeps what the title says of its colours and pixels: encoders write both in their headers.
    """
    wanted = "+".join(rf"between(n\,{first}\,{last - 1})" for first, last in pieces)
    lengths = [last - first for first, last in pieces]
    bounds = ",".join(str(sum(lengths[:count])) for count in range(1, len(lengths)))
    each = ["-segment_frames", bounds] if bounds else ["-segment_time", "1000000"]
    return Command(
        (
            *_decode(reference),
            "-vf",
            chain([*_seen(reference), f"select={wanted}", *_counted(reference)]),
            "-frames:v",
            str(sum(lengths)),
            "-c:v",
            "ffv1",
            "-g",
            "1",
            "-f",
            "segment",
            *each,
            "-segment_format",
            "matroska",
            OUTPUT,
        )
    )


def _decode(reference: ReferenceInput) -> list[str]:
    return [*reference.input_args, "-i", SOURCE, "-map", f"0:{reference.stream_map}", *_ONE_BY_ONE]


def _seen(reference: ReferenceInput) -> list[str]:
    """Filters already applied to the counted frames; none if VMAF compares with the unfiltered source."""
    seen = reference.user_filters and reference.unfiltered_size is None
    return [*reference.from_rgb(), reference.user_filters] if seen else []


def _counted(reference: ReferenceInput) -> list[str]:
    """Frame n at n / frame rate, whatever the container's time stamps; `fps` only declares the rate."""
    return [reference.tick(), f"fps={reference.rate()}"]


def through_filters(before: Sequence[str], stream_map: str, filters: str, n_sample: int) -> Command:
    """Decode a stream through filters: times of all frames to stdout, and the first few into a lossless file."""
    mapped = ["-map", f"0:{stream_map}", "-vf", filters, *_ONE_BY_ONE]
    return Command(
        (
            *before,
            "-i",
            SOURCE,
            *mapped,
            "-enc_time_base",
            "filter",
            "-c:v",
            "rawvideo",
            "-f",
            "framecrc",
            "-",
            *mapped,
            "-frames:v",
            str(n_sample),
            "-c:v",
            "ffv1",
            "-f",
            "matroska",
            OUTPUT,
        )
    )


def frame_times(reference: ReferenceInput) -> Command:
    """Decode a source through the user's filters and write when each frame is shown, as `PTS TIME_BASE` lines."""
    filters = ["-vf", reference.user_filters] if reference.user_filters else []
    return Command(
        (
            *_decode(reference),
            *filters,
            "-enc_time_base",
            "filter",
            "-c:v",
            "wrapped_avframe",
            "-stats_enc_pre",
            OUTPUT,
            "-stats_enc_pre_fmt",
            "{pts} {tb}",
            "-f",
            "null",
            "-",
        )
    )


def video_packets(stream_map: str = "v:0") -> Command:
    """The packets of a file's video stream, one line each."""
    return Command((*guards(), "-i", SOURCE, "-map", f"0:{stream_map}", "-c", "copy", "-f", "framecrc", "-"))


def score_itself() -> Command:
    """One frame against itself."""
    graph = f"[0:v][1:v]{libvmaf_filter()}"
    return Command(
        (
            *_TEST_PICTURES,
            *_TEST_PICTURES,
            "-filter_complex",
            graph,
            "-frames:v",
            "1",
            "-f",
            "null",
            "-",
        )
    )


def try_encoder(
    encoder: EncoderInfo,
    preset: str,
    *,
    n_frames: int = 1,
    muxer: str = "null",
    rate_value: float | None = None,
) -> Command:
    """A few test pictures through an encoder, by default at the middle of its declared range, into a container."""
    upload = ["-vf", chain(encoder.upload())] if encoder.upload() else []
    return Command(
        (
            *encoder.device_args,
            *_TEST_PICTURES,
            "-frames:v",
            str(n_frames),
            *upload,
            *encoder_args(encoder, preset, encoder.middle() if rate_value is None else rate_value),
            "-f",
            muxer,
            OUTPUT,
        )
    )


def test_clip(n_frames: int) -> Command:
    """A 320x192 test clip as a file; libkvazaar takes sides that are multiples of 8."""
    return source_clip("testsrc2=size=320x192:rate=25", n_frames)


def source_clip(graph: str, n_frames: int) -> Command:
    """Pictures of ffmpeg's own sources as a file."""
    pictures = ("-f", "lavfi", "-i", graph, "-frames:v", str(n_frames))
    return Command((*pictures, "-pix_fmt", "yuv420p", OUTPUT))


def name_itself(encoder: EncoderInfo) -> Command:
    """A clip through an encoder to stdout: its stream or ffmpeg's log holds the encoder's version."""
    upload = ["-vf", chain(encoder.upload())] if encoder.upload() else []
    encode = encoder_args(encoder, encoder.presets[-1], encoder.middle())
    return Command((*encoder.device_args, "-i", SOURCE, *upload, *encode, "-f", encoder.raw_muxer, "-"))
