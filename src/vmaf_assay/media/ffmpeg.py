"""Find ffmpeg, know its version, and say in words how it ended."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vmaf_assay.errors import ToolError
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
