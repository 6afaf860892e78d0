"""ffmpeg's messages about incomplete files and about frames that do not decode.

ffmpeg conceals damage and exits 0. What counts is who speaks and at which level: at `-v error` each line of a
demuxer or video decoder is an error of that file. Its words are not searched: they may quote paths and tags.
"""

import re

from vmaf_assay.errors import MediaError

# "[vist#0:0/h264 @ 0x55d0] [dec:h264 @ 0x55d1] Error submitting packet": who speaks, and what it says.
_SPEAKERS = re.compile(r"((?:\[[^\[\]@]+ @ 0x[0-9a-f]+\] )+)(.*)")
_NAME = re.compile(r"\[([^\[\]@]+) @ ")

# ffmpeg's own readers, libavformat's demuxers and libavcodec's video decoders (n9.0.2).
_READERS = re.compile(
    r"(?:in#|vist#|dec:).*|.*,.*|(?:avi|mpegts|mpeg|flv|live_flv|ogg|asf(?:_o)?|mxf|ivf|rm|gxf|wtv|dv|nsv|swf|apng|gif)|"
    r"(?:h26\d|hevc|vvc|evc|vp\d|av1|libdav1d|mpeg\w*|mjpegb?|prores|dnxhd|ffv1|theora|wmv\d|vc1|msmpeg4\w*|"
    r"rawvideo|yuv4mpegpipe|cinepak|qtrle|dvvideo|jpeg2000|jpegls|huffyuv|ffvhuff|utvideo|magicyuv|png|webp\w*|apv|"
    r"cavs|cfhd|hap|svq\d|rv\d\d|indeo\d|cllc|hymt|lagarith|snow|dirac|v210|r210|flashsv2?|qdraw|rpza|smc|tscc2?|zmbv)"
)

_REFERENCES = re.compile(
    r"(reference picture|Could not find ref|co located POCs|mmco|Frame num gap|number of reference frames|"
    r"Missing reference|reference count|non-existing [SPV]PS|no frame!|PPS id out of range|"
    r"[SPV]PS \d+ does not exist|first slice|skipped frame|RASL|undecodable)",
    re.IGNORECASE,
)
"""What decoders say of pictures before the first one that can be decoded by itself."""

# Frames are numbered by `setpts=N`, so the count restarts only where ffmpeg rebuilds its filters.
_RESTARTED = re.compile(r"non monotonically increasing dts")


def check_decoded(what: str, stderr: str, *, seeked: bool = False, remarks: tuple[str, ...] = ()) -> None:
    """Refuse a file if ffmpeg's messages say that frames are damaged or of different kinds.

    Args:
      what: the operation and the file, for the message.
      stderr: what ffmpeg wrote at level error.
      seeked: as in `damage_line`.
      remarks: as in `damage_line`.

    Raises:
      MediaError: a frame does not decode, or size, range or colours change within the video.
    """
    if any(_RESTARTED.search(words) for _, words in _said(stderr)):
        raise MediaError(
            f"{what}: its size, range or colours change within the stream",
            next_step="export it with constant size, range and colours, or give its parts one by one",
        )
    if damage := damage_line(stderr, seeked=seeked, remarks=remarks):
        raise MediaError(
            f"{what}: a frame does not decode completely: {damage}", next_step="export the file again"
        )


def damage_line(stderr: str, *, seeked: bool = False, remarks: tuple[str, ...] = ()) -> str:
    """The first error of a demuxer or video decoder; empty if there is none.

    Args:
      stderr: what ffmpeg wrote at level error.
      seeked: True if decoding started inside the file. A stream with open GOPs then lacks references for pictures
        before that point, which are not used.
      remarks: what is said of the pictures before the first that can be decoded (`start_remarks`); no error.
    """
    for speakers, words in _said(stderr):
        if words in remarks or (seeked and _REFERENCES.search(words)):
            continue
        if any(_READERS.fullmatch(name) for name in speakers):
            return words
    return ""


def start_remarks(before: str, after: str) -> tuple[str, ...]:
    """What decoders say at the start of a video that begins inside a group of pictures.

    Args:
      before: what ffmpeg wrote at level error up to its first picture: all of it is of pictures that nobody sees.
      after: the same up to some pictures later: of it, what is said of missing references.
    """
    unseen = {words for _, words in _said(before)}
    return tuple(sorted(unseen | {words for _, words in _said(after) if _REFERENCES.search(words)}))


def _said(stderr: str) -> list[tuple[list[str], str]]:
    """(who speaks, from outside in; what it says) of each line that says who speaks."""
    found = (_SPEAKERS.fullmatch(line.strip()) for line in stderr.replace("\r", "\n").splitlines())
    return [(_NAME.findall(match[1]), match[2].strip()) for match in found if match]
