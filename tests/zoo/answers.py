"""Write `answers.json`: what each file is, by plain ffmpeg, mkvmerge and mediainfo. Nothing of the product runs.

python -m tests.zoo.answers FFMPEG FOLDER [NAME...]
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.zoo.make import make
from tests.zoo.recipes import recipes

ANSWERS = Path(__file__).with_name("answers.json")
QUIET = ("-v", "error", "-nostdin", "-y")
ONE_BY_ONE = ("-fps_mode", "passthrough")
PLAIN_ENCODE = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-threads", "1")


def shown(name: str) -> str:
    """A file name as JSON holds it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def run(*argv: str) -> subprocess.CompletedProcess[bytes]:
    """A command, whatever its exit status."""
    return subprocess.run(argv, capture_output=True, check=False, timeout=300)


def streams(ffmpeg: str, path: Path) -> list[str]:
    """Kind and codec of each stream, as ffmpeg's `framecrc` muxer heads its list."""
    argv = [ffmpeg, "-v", "error", "-nostdin", "-i", str(path), "-map", "0", "-c", "copy", "-copy_unknown"]
    text = run(*argv, "-t", "0", "-f", "framecrc", "-").stdout.decode()
    kinds, codecs = (
        re.findall(rf"^#{word} \d+: (\S+)", text, re.MULTILINE) for word in ("media_type", "codec_id")
    )
    return [f"{kind} {codec}" for kind, codec in zip(kinds, codecs, strict=True)]


def frames(ffmpeg: str, path: Path) -> tuple[int, str]:
    """How many pictures of the first video stream decode, and their size as shown."""
    argv = [ffmpeg, "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough"]
    text = run(*argv, "-f", "framecrc", "-").stdout.decode()
    sizes = re.findall(r"#dimensions 0: (\S+)", text)
    return sum(line[:1].isdigit() for line in text.splitlines()), sizes[0] if sizes else "0x0"


def taken(ffmpeg: str, path: Path, index: int, suffix: str, folder: Path) -> bool:
    """Whether a copy of one stream, beside a picture, can be found in the container by another tool."""
    out = folder / f"copy.{suffix}"
    beside = ["-f", "lavfi", "-i", "color=size=64x64:duration=1", "-map", "1:v", "-c:v", "libx264"]
    copied = ["-map", f"0:{index}", "-c:1", "copy", "-map_chapters", "-1", str(out)]
    done = run(ffmpeg, "-v", "error", "-nostdin", "-y", "-i", str(path), *beside, *copied)
    if done.returncode:
        return False
    if suffix == "mkv":
        told = json.loads(run("mkvmerge", "-J", str(out)).stdout)
        return len(told["tracks"]) + len(told["attachments"]) == 2
    tracks = json.loads(run("mediainfo", "--Output=JSON", str(out)).stdout)["media"]["track"]
    known = [one for one in tracks if one["@type"] != "General" and (one.get("Format") or one["@type"] == "Other")]
    return len(known) == 2 or any(one.get("Cover") == "Yes" for one in tracks)


def fixed_encode(ffmpeg: str, path: Path, size: str, folder: Path) -> Path:
    """`PLAIN_ENCODE` of every picture at an even size, by way of the lossless `ref.y4m`."""
    width, height = (int(side) // 2 * 2 for side in size.split("x"))
    even = f"scale={width}:{height}:flags=bicubic:out_range=tv,format=yuv420p,setsar=1,settb=1/25,setpts=N"
    lossless = ["-map", "0:v:0", "-vf", even, *ONE_BY_ONE, "-c:v", "rawvideo", str(folder / "ref.y4m")]
    run(ffmpeg, *QUIET, "-i", str(path), *lossless)
    run(ffmpeg, *QUIET, "-i", str(folder / "ref.y4m"), *PLAIN_ENCODE, str(folder / "enc.mkv"))
    return folder / "enc.mkv"


def vmaf(ffmpeg: str, path: Path, size: str, folder: Path) -> float:
    """Mean VMAF of `fixed_encode`, over lossless files, frame against frame."""
    encode, distorted, log = fixed_encode(ffmpeg, path, size, folder), folder / "dis.y4m", folder / "vmaf.json"
    decoded = [*ONE_BY_ONE, "-c:v", "rawvideo", "-pix_fmt", "yuv420p", str(distorted)]
    run(ffmpeg, *QUIET, "-i", str(encode), *decoded)
    score = f"libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log}"
    pair = ["-i", str(distorted), "-i", str(folder / "ref.y4m")]
    run(ffmpeg, *QUIET, *pair, "-lavfi", score, "-f", "null", "-")
    return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def answer(ffmpeg: str, path: Path, folder: Path) -> dict[str, Any]:
    """All of it for one file."""
    count, size = frames(ffmpeg, path)
    listed = streams(ffmpeg, path)
    return {
        "frames": count,
        "size": size,
        "streams": listed,
        "mkv": [taken(ffmpeg, path, index, "mkv", folder) for index in range(len(listed))],
        "mp4": [taken(ffmpeg, path, index, "mp4", folder) for index in range(len(listed))],
        "vmaf": round(vmaf(ffmpeg, path, size, folder), 4),
    }


def main(ffmpeg: str, folder: Path, names: list[str]) -> None:
    """Answer for the files named, or all."""
    known = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    wanted = [recipe for recipe in recipes() if not names or shown(recipe.name) in names]
    for number, recipe in enumerate(wanted):
        own = folder / str(number)
        known[shown(recipe.name)] = answer(ffmpeg, make(recipe, own, ffmpeg), own)
    kept = {shown(recipe.name): known[shown(recipe.name)] for recipe in recipes()}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(told)}" for name, told in kept.items())
    ANSWERS.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
