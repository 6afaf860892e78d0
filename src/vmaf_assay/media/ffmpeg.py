"""Find ffmpeg, know its version, and say in words how it ended and what did not decode.

ffmpeg conceals damage and exits 0. What counts is who speaks and at which level: at `-v error` each line of a
demuxer or video decoder is an error of that file. Its words are not searched: they may quote paths and tags.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import MediaError, ToolError
from vmaf_assay.media import process

MIN_MAJOR = 7
"""Loopback decoders (`-dec`), which let one process encode, decode and score, came with ffmpeg 7.0."""

DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,live_flv,ogg,asf,asf_o,mxf,nut,ivf,rm,gxf,wtv,dv,nsv,swf,ty,pva,mlv,"
    "h264,hevc,vvc,evc,av1,obu,mpegvideo,m4v,h261,h263,vc1,vc1test,cavsvideo,avs2,avs3,dirac,dnxhd,apv,"
    "mjpeg,mjpeg_2000,yuv4mpegpipe,rawvideo,gif,apng,webp_anim,jpegxl_anim,"
    "mp3,wav,aac,flac,ac3,eac3,dts,w64,caf,aiff,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe"
)
"""libavformat's demuxers that sources are opened with: their files hold their media themselves.

Not among them is what opens other files (concat, hls, dash, sdp, rtsp, image2, imf, vobsub, avisynth, lavfi).
Sound and single pictures are among them, to be refused as what they are.
"""


def guards(demuxers: str = DEMUXERS) -> tuple[str, ...]:
    """Options before `-i` that keep ffmpeg from opening anything but this one local file.

    Args:
      demuxers: the demuxers that may read it, with commas.
    """
    return ("-protocol_whitelist", "file", "-format_whitelist", demuxers)


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """A usable ffmpeg."""

    path: str
    """The executable."""
    version: str
    """The word after `ffmpeg version`."""
    how_found: str
    """Step of the search that found it, for `assay doctor`."""

    def base_argv(self, *, level: str = "error") -> list[str]:
        """The options every call begins with."""
        return [self.path, "-hide_banner", "-nostdin", "-y", "-v", level]


def find_ffmpeg(explicit: str | None = None) -> Ffmpeg:
    """The first usable of: `explicit`, `$ASSAY_FFMPEG`, one on PATH with libvmaf, imageio-ffmpeg's.

    Raises:
      ToolError: the requested ffmpeg is not usable, or no usable one was found.
    """
    for name, how in ((explicit, "--ffmpeg"), (os.environ.get("ASSAY_FFMPEG"), "$ASSAY_FFMPEG")):
        if name:
            found, why_not = _inspect(name, how)
            if found is None:
                raise ToolError(
                    f"{how} names {name}, which {why_not}",
                    next_step=f"name an ffmpeg {MIN_MAJOR} or newer with libvmaf, or leave it out",
                )
            return found
    rejected = ""
    if on_path := shutil.which("ffmpeg"):
        found, why_not = _inspect(on_path, "on PATH")
        if found is not None:
            return found
        rejected = f" (the one on PATH {why_not})"
    found, why_not = _inspect(_bundled_path(), f"inside imageio-ffmpeg{rejected}")
    if found is None:
        raise ToolError(
            f"no usable ffmpeg: the one inside imageio-ffmpeg {why_not}{rejected}",
            next_step="install imageio-ffmpeg 0.6 or newer, or set ASSAY_FFMPEG",
        )
    return found


def _bundled_path() -> str:
    import imageio_ffmpeg

    # IMAGEIO_FFMPEG_EXE could name any other ffmpeg; this looks for the one in the wheel.
    folder = Path(imageio_ffmpeg.__file__).parent / "binaries"
    return next((str(path) for path in sorted(folder.glob("ffmpeg-*"))), "ffmpeg")


def _inspect(name: str, how: str) -> tuple[Ffmpeg | None, str]:
    try:
        version = process.run([name, "-version"], timeout_s=60)
        filters = process.run([name, "-hide_banner", "-filters"], timeout_s=60)
    except ToolError as error:
        return None, f"cannot be started ({error.what})"
    match = re.match(r"ffmpeg version (\S+)", version.stdout.decode(errors="replace"))
    if version.exit_code != 0 or match is None:
        return None, "does not print an ffmpeg version"
    major = re.match(r"n?(\d+)", match[1])
    if major and int(major[1]) < MIN_MAJOR:
        return None, f"is version {match[1]}, older than {MIN_MAJOR}.0"
    if b" libvmaf " not in filters.stdout:
        return None, "was built without libvmaf"
    return Ffmpeg(name, match[1], how), ""


def failure(what: str, done: process.Completed, *, next_step: str = "") -> ToolError:
    """A ToolError with the operation, ffmpeg's exit, and its first and last messages."""
    if done.killed:
        said = f"ffmpeg was killed {what}"
        next_step = "find what killed it (out of memory?), and run the same command again"
    elif done.timed_out:
        said, next_step = f"ffmpeg did not end in time {what}", "run the same command again"
    else:
        said = f"ffmpeg exited {done.exit_code} {what}: {done.gist() or 'no message'}"
    return ToolError(
        said,
        next_step=next_step or "run `assay doctor`",
        argv=done.argv,
        exit_code=done.exit_code,
        stderr_tail=done.tail(20),
    )


def check_ended(what: str, done: process.Completed) -> None:
    """Raise if ffmpeg was killed or timed out, because its output then proves nothing.

    Otherwise its output would look like a file that does not decode or an encoder that does not work.

    Raises:
      ToolError: it was killed or timed out.
    """
    if done.killed or done.timed_out:
        raise failure(what, done)


def even_fit(width: int, height: int, box: tuple[int, int] | None) -> tuple[int, int]:
    """The largest even size of the same shape that fits `box`, never larger than the input.

    >>> even_fit(1920, 1080, (1280, 720))
    (1280, 720)
    >>> even_fit(2160, 3840, (1280, 720))
    (404, 720)
    >>> even_fit(321, 240, None)
    (320, 240)
    """
    scale = 1.0 if box is None else min(1.0, box[0] / width, box[1] / height)
    return max(2, int(width * scale + 1e-9) // 2 * 2), max(2, int(height * scale + 1e-9) // 2 * 2)


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
