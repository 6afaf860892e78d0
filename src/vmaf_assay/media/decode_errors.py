"""What ffmpeg says of a file that is not whole, or of a frame that does not decode.

ffmpeg conceals damage and exits 0, so its words are the only sign that a picture is not what was encoded.
"""

import re

from vmaf_assay.errors import MediaError

# What ffmpeg says on reading a file that is not whole (n9.0.2, 2026-11-24).
_BROKEN = re.compile(
    r"(truncat|ended prematurely|partial file|Invalid data found|error while decoding|corrupt|"
    r"moov atom not found|End of file|Packet mismatch|concealing|EBML|exceeds (containing|max))",
    re.IGNORECASE,
)
# "[h264 @ 0x55d0] mmco: unref short failure": who speaks, and what it says.
_SPEAKER = re.compile(r"^\[([\w,.\-/#:]+) @ 0x[0-9a-f]+\] (.*)")
# Decoders of damaged or incomplete streams, besides the words above.
_COMPLAINT = re.compile(
    r"(no frame!|non-existing [SPV]PS|missing|left block unavailable|top block unavailable|out of range|"
    r"decode_slice|cabac|overflow|overread|invalid|error|failed|not enough|exceeds)",
    re.IGNORECASE,
)
# What is said of pictures before the point asked for, when decoding starts at a random access point.
_REFERENCES = re.compile(
    r"(reference picture|Could not find ref|co located POCs|mmco|Frame num gap|number of reference frames|"
    r"Missing reference|reference count)",
    re.IGNORECASE,
)
_DECODERS = re.compile(
    r"^(h26\d|hevc|vvc|vp\d|av1|libdav1d|mpeg\w*|mjpeg|prores|dnxhd|ffv1|theora|wmv\d|vc1|msmpeg4\w*|flv1?|rawvideo|"
    r"cinepak|qtrle|dvvideo|jpeg2000|huffyuv|ffvhuff|utvideo|png|gif)$"
)


# Frames are numbered by `setpts=N`, so that the count restarts only where ffmpeg builds its filters anew.
_RESTARTED = re.compile(r"non monotonically increasing dts")


def check_decoded(what: str, stderr: str, *, seeked: bool = False) -> None:
    """Refuse what ffmpeg read and numbered, if its words say that the frames are not all there or not one kind.

    Args:
      what: what was done to which file, for the message.
      stderr: what ffmpeg wrote at level error.
      seeked: as in `damage_line`.

    Raises:
      MediaError: a frame does not decode, or the video changes its size, range or colours on the way.
    """
    if _RESTARTED.search(stderr):
        raise MediaError(
            f"{what}: its size, range or colours change on the way, so that it is not one video",
            next_step="export it with the same throughout, or give its parts one by one",
        )
    if damage := damage_line(stderr, seeked=seeked):
        raise MediaError(f"{what}: a frame does not decode whole: {damage}", next_step="export the file again")


def damage_line(stderr: str, *, seeked: bool = False) -> str:
    """The first line in which ffmpeg says that what it reads or decodes is damaged; empty if none does.

    Args:
      stderr: what ffmpeg wrote at level error or info.
      seeked: True if decoding started inside the file: a stream with open GOPs then misses references for pictures
        before that point, which nobody asked for.
    """
    for line in stderr.replace("\r", "\n").splitlines():
        spoken = _SPEAKER.match(line.strip())
        words = spoken[2] if spoken else line.strip()
        if "Metadata" in line or (seeked and _REFERENCES.search(words)):
            continue
        decoder = bool(spoken and _DECODERS.match(spoken[1]))
        if _BROKEN.search(words) or (decoder and (_COMPLAINT.search(words) or _REFERENCES.search(words))):
            return re.sub(r"^(\[[^]]*\]\s*)+", "", words)
    return ""
