"""How each file of the zoo is made: lines of ffmpeg and mkvmerge options and edits of boxes.

A line is ffmpeg's options, unless it begins with `mkvmerge` or with the name of an edit. `{noise}` and the like
are inputs of 30 frames of moving, textured content; `{tone}` is 1.2 s of sound; `{x264}` an H.264 encode.
`report` names a public report of the layout.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes.txt")
FRAMES = 30
SIZE = "160x90"

_GRAPHS = {
    "noise": f"testsrc2=size={SIZE}:rate=25,noise=alls=14:allf=t:all_seed=5",
    "fractal": f"mandelbrot=size={SIZE}:rate=25:start_scale=0.5:end_scale=0.1:end_pts=60",
    "life": f"life=size={SIZE}:rate=25:mold=10:ratio=0.3:seed=7:death_color=0x203040:life_color=0xc0d0e0",
    "dark": f"testsrc2=size={SIZE}:rate=25,eq=brightness=-0.35:contrast=0.4,noise=alls=6:allf=t:all_seed=9",
    "zoom": f"testsrc=size={SIZE}:rate=25,zoompan=z='1+0.01*on':d=1:s={SIZE}:fps=25",
    "film": f"testsrc2=size={SIZE}:rate=24000/1001,noise=alls=10:allf=t:all_seed=3",
    "ntsc": f"testsrc2=size={SIZE}:rate=30000/1001,noise=alls=10:allf=t:all_seed=4",
    "sixty": f"testsrc2=size={SIZE}:rate=60000/1001,noise=alls=8:allf=t:all_seed=6",
    "slow": f"life=size={SIZE}:rate=15/2:mold=10:ratio=0.4:seed=2:death_color=0x302010:life_color=0xe0c0a0",
    "odd": "testsrc2=size=161x91:rate=25,noise=alls=9:allf=t:all_seed=8",
    "tall": "testsrc2=size=90x160:rate=25,noise=alls=9:allf=t:all_seed=12",
    "square": "testsrc2=size=128x128:rate=25,noise=alls=9:allf=t:all_seed=13",
    "dv": "testsrc2=size=720x576:rate=25,noise=alls=6:allf=t:all_seed=14",
    "fields": "testsrc2=size=160x96:rate=50,noise=alls=6:allf=t:all_seed=15,tinterlace=interleave_top",
    "see": f"testsrc2=size={SIZE}:rate=25,format=yuva420p,geq=lum='lum(X,Y)':a='if(lt(X,80),90,255)'",
}
INPUTS = {name: f'-f lavfi -i "{graph},trim=end_frame={FRAMES}"' for name, graph in _GRAPHS.items()}
INPUTS |= {
    "tone": "-f lavfi -i sine=frequency=440:duration=1.2:sample_rate=48000",
    "tone2": "-f lavfi -i sine=frequency=880:duration=1.2:sample_rate=48000",
    "picture": "-f lavfi -i mandelbrot=size=64x64:rate=1,trim=end_frame=1",
    "x264": "-c:v libx264 -preset ultrafast -crf 12 -pix_fmt yuv420p -threads 1",
    "main": "-c:v libx264 -preset veryfast -crf 12 -pix_fmt yuv420p -threads 1 -x264-params bframes=2:b-adapt=0",
}
"""What stands in braces."""


@dataclass(frozen=True)
class Recipe:
    """One file."""

    name: str
    """File name."""
    lines: str
    """How it is made."""
    rate: str = "25"
    """Frames a second that its maker meant."""
    refused: str = ""
    """A word of the refusal, where the source is one that nothing is calibrated for."""
    report: str = ""
    """A public report of this layout, `owner/repository#number`."""


def _simple() -> list[Recipe]:
    """Containers times codecs, with sound."""
    made = []
    video = {
        "x264": "libx264 -threads 1",
        "x265": "libx265 -x265-params log-level=error",
        "mpeg4": "mpeg4 -q:v 2",
        "mpeg2video": "mpeg2video -q:v 2",
        "vpx": "libvpx -b:v 800k",
        "vpx-vp9": "libvpx-vp9 -crf 10 -cpu-used 8",
        "svtav1": "libsvtav1 -preset 12 -crf 20",
        "vvenc": "libvvenc -preset faster -qp 20",
        "theora": "libtheora -q:v 9",
        "xvid": "libxvid -q:v 2",
        **{name: f"{name} -q:v 2" for name in ("mjpeg", "msmpeg4v3", "flv", "wmv2")},
        **{name: name for name in ("ffv1", "ffvhuff", "utvideo")},
    }
    table = {
        "mkv": "x264 x265 mpeg4 mpeg2video ffv1 vpx vpx-vp9 svtav1 mjpeg ffvhuff theora utvideo",
        "mp4": "x264 x265 mpeg4 vpx-vp9 svtav1 vvenc",
        "mov": "x264 mpeg4 mjpeg xvid",
        "avi": "x264 mpeg4 mjpeg ffv1 msmpeg4v3 ffvhuff",
        "ts": "x264 x265 mpeg2video",
        "mpg": "mpeg2video",
        "webm": "vpx vpx-vp9 svtav1",
        "flv": "x264 flv",
        "wmv": "wmv2",
        "ogv": "theora",
        "nut": "ffv1",
        "3gp": "mpeg4",
    }
    sound = {"webm": "libopus", "wmv": "wmav2", "ogv": "libvorbis", "avi": "libmp3lame", "mpg": "mp2"}
    content = ["noise", "fractal", "life", "dark", "zoom"]
    for suffix, codecs in table.items():
        for codec in codecs.split():
            name = f"{suffix}-{codec}.{suffix}"
            special = {"avi-x264.avi": " -bf 0", "mp4-x265.mp4": " -tag:v hvc1"}.get(name, "")
            pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            inputs = f"{{{content[len(made) % len(content)]}}} {{tone}}"
            encode = f"-c:v {video[codec]}{special} -pix_fmt {pixels} -c:a {sound.get(suffix, 'aac')}"
            made.append(Recipe(name, f"{inputs} {encode} {name}"))
    return made


def _listed() -> list[Recipe]:
    """Those of `recipes.txt`: a heading with a file's name and what is special, then how it is made."""
    made = []
    for block in RECIPES.read_text(encoding="utf-8").split("\n\n"):
        heading, _, lines = block.strip().partition("\n")
        name, *facts = heading.removeprefix("# ").split(" | ")
        special = dict(fact.split(" ", 1) for fact in facts)
        made.append(Recipe(path_of(name), path_of(lines), **special))
    return made


def path_of(text: str) -> str:
    r"""Text whose `\xNN` stand for bytes that are not UTF-8."""
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda found: bytes([int(found[1], 16)]), text.encode())
    return os.fsdecode(raw)


def recipes() -> list[Recipe]:
    """All of them."""
    return [*_simple(), *_listed()]
