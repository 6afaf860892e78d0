"""Commands for a title that is encoded part by part: looking, encoding and scoring, joining, digests of frames.

A part is scored exactly as its frames are in the joined file. VMAF's motion feature reads the frame before and
after, so one frame on each side is compared too, and its score is not used.
"""

from collections.abc import Sequence
from dataclasses import replace

from vmaf_assay.media.commands import (
    NO_STEREO,
    OUTPUT,
    SOURCE,
    Command,
    compare_graph,
    compare_outputs,
    encoder_args,
)
from vmaf_assay.media.encoders import EncoderInfo
from vmaf_assay.media.reference import ReferenceInput, chain
from vmaf_assay.media.sync import SIGNATURE_FILTER
from vmaf_assay.records import MEAN_VMAF

PART, LIST = "<part>", "<list>"
"""Roles of an encoded part, and of the list of parts."""

SOURCE_DIGESTS, PART_DIGESTS, SIGNATURES, TIMES = "source.hash", "part.hash", "look.gray", "times.txt"
"""Files that these commands write into their working folder."""

_ONE_BY_ONE = ("-fps_mode", "passthrough")
_DIGEST = (*_ONE_BY_ONE, "-f", "framehash", "-hash", "murmur3")
"""A digest of each decoded frame. It finds faults, not forgeries; MD5 takes four times as long."""


def look_closely(reference: ReferenceInput) -> Command:
    """Decode a title once: a signature and a digest of each frame that is compared, and when each is shown."""
    filtered = reference.user_filters and reference.unfiltered_size is None
    first = [*reference.from_rgb(), reference.user_filters] if filtered else ["null"]
    rest = replace(reference, user_filters="", rgb_matrix="") if filtered else reference
    compared = [*rest.filters(), reference.tick()]
    graph = (
        f"[0:{reference.stream_map}]{chain(first)},split[t][n];[n]{chain(compared)},split[f][g];"
        f"[g]{SIGNATURE_FILTER}[s]"
    )
    times = ["-enc_time_base", "filter", "-c:v", "wrapped_avframe", "-stats_enc_pre", TIMES]
    return Command(
        (
            *reference.input_args,
            "-i",
            SOURCE,
            "-filter_complex",
            graph,
            "-map",
            "[s]",
            *_ONE_BY_ONE,
            "-f",
            "rawvideo",
            SIGNATURES,
            "-map",
            "[f]",
            *_DIGEST,
            SOURCE_DIGESTS,
            "-map",
            "[t]",
            *_ONE_BY_ONE,
            *times,
            "-stats_enc_pre_fmt",
            "{pts} {tb}",
            "-f",
            "null",
            "-",
        )
    )


def encode_part(
    reference: ReferenceInput,
    encoder: EncoderInfo,
    preset: str,
    rate_value: float,
    around: tuple[int, int],
    options: Sequence[str] = (),
    model: str = MEAN_VMAF.model,
) -> Command:
    """Encode a part into a file, decode it through a loopback decoder, and score it, in one process.

    Args:
      reference: whose `span` is the part.
      encoder: entry of the table of encoders.
      preset: one of its presets.
      rate_value: on its own scale.
      around: frames before and after the part that libvmaf sees too, 0 or 1 each.
      options: more of the encoder's options.
      model: libvmaf's, that scores.
    """
    before, after = around
    up = reference.unfiltered_size
    scale_up = f"scale={up[0]}:{up[1]}:flags=bicubic," if up else ""
    padded = f"tpad=start={before}:stop={after}:start_mode=clone:stop_mode=clone,"
    graph = (
        f"[dec:0]split[h][x];[x]{scale_up}format={reference.compared},{padded}{reference.tick()}[d];"
        f"[0:{reference.stream_map}]{chain(reference.around(before, after).filters())},{reference.tick()},"
        f"split[r][f];{compare_graph((model,))}"
    )
    whole = replace(encoder, extra_args=(*encoder.extra_args, *encoder.stitch_args, *options))
    scored = ("-threads", "<threads>", "-dec", "0:0", "-filter_complex", graph, *compare_outputs())
    digests = ("-map", "[h]", *_DIGEST, PART_DIGESTS, "-map", "[f]", *_DIGEST, SOURCE_DIGESTS)
    return Command((*_encode(reference, whole, preset, rate_value), *scored, *digests))


def _encode(reference: ReferenceInput, encoder: EncoderInfo, preset: str, rate_value: float) -> list[str]:
    """From the input to the encoded part."""
    filters = chain([*reference.encode_filters(), NO_STEREO, *encoder.upload()])
    return [
        *encoder.device_args,
        "-threads",
        "<threads>",
        *reference.input_args,
        "-i",
        SOURCE,
        "-map",
        f"0:{reference.stream_map}",
        *_ONE_BY_ONE,
        "-frames:v",
        "<frames>",
        "-vf",
        filters,
        *encoder_args(encoder, preset, rate_value),
        *(["-bsf:v", encoder.file_bsf] if encoder.file_bsf else []),
        "-stats_mux_pre",
        "packets.txt",
        "-stats_mux_pre_fmt",
        "{pts} {size}",
        "-f",
        "matroska",
        PART,
    ]


def join_parts(reference: ReferenceInput, streams: Sequence[str], restore: Sequence[str]) -> Command:
    """Put the packets of all parts into one file, with the source's other streams.

    Args:
      reference: the source, input 0; the parts are input 1.
      streams: output options that say what goes in; the picture is the first output stream.
      restore: output options that give packets the source's times.
    """
    parts = ("-protocol_whitelist", "file", "-f", "concat", "-safe", "0", "-i", LIST)
    return Command((*reference.input_args, "-i", SOURCE, *parts, *streams, "-c:v:0", "copy", *restore, OUTPUT))


def digest_frames() -> Command:
    """A digest of each frame that a file's first video stream decodes to, one line each on stdout."""
    return Command(("-i", SOURCE, "-map", "0:v:0", *_DIGEST, "-"))
