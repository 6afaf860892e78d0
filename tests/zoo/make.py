"""Make the files of the zoo."""

import shlex
import shutil
import subprocess
from pathlib import Path

from tests.zoo import boxes
from tests.zoo.recipes import INPUTS, Recipe

_EDITS = {
    "refer": lambda path, track, kind, to: boxes.refer(path, int(track), kind, int(to)),
    "without": boxes.without,
    "retag": boxes.retag,
    "add_captions": boxes.add_captions,
    "make_sup": boxes.make_sup,
    "make_picture_sup": boxes.make_picture_sup,
    "tear": lambda path, n_bytes: boxes.tear(path, int(n_bytes)),
}


def make(recipe: Recipe, folder: Path, ffmpeg: str) -> Path:
    """Make one file in an empty folder of its own, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in recipe.lines.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "text":
            name, _, text = rest.partition(" ")
            (folder / name).write_text(text.encode().decode("unicode_escape"))
        elif word in _EDITS:
            name, *args = shlex.split(rest)
            _EDITS[word](folder / name, *args)
        else:
            _run(word, line, folder, ffmpeg)
    return folder / recipe.name


def _run(word: str, line: str, folder: Path, ffmpeg: str) -> None:
    if word == "mkvmerge":
        program = shutil.which("mkvmerge")
        assert program, "mkvmerge is not installed (Debian: mkvtoolnix)"
        argv = [program, *shlex.split(line)[1:]]
    else:
        for name, text in INPUTS.items():
            line = line.replace(f"{{{name}}}", text)
        argv = [ffmpeg, "-hide_banner", "-nostdin", "-y", "-v", "error", "-bitexact", *shlex.split(line)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, (line, done.stderr.decode(errors="replace")[-800:])
