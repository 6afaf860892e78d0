"""Published collections: their file names, what these say, and what must not be split."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmaf_assay.errors import ConfigError
from vmaf_assay.media.files import path_text
from vmaf_assay.media.raw import RAW_SUFFIXES, RawGeometry, geometry_in_name, rate_of_name

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "mp4",
        "mkv",
        "webm",
        "mov",
        "avi",
        "m4v",
        "ts",
        "mts",
        "m2ts",
        "mpg",
        "mpeg",
        "wmv",
        "flv",
        "y4m",
        "264",
        "h264",
        "265",
        "hevc",
        "ivf",
        "obu",
        "mxf",
        "ogv",
        "3gp",
    )
)
"""File suffixes that a folder is searched for."""

Layout = Literal["netflix", "bvi-dvc", "folder"]
LAYOUTS: tuple[Layout, ...] = ("netflix", "bvi-dvc", "folder")

# Netflix Public Dataset: `ref/BigBuckBunny_25fps.yuv`; all of it is 1920x1080 8-bit 4:2:0 (Netflix/vmaf,
# resource/dataset/NFLX_dataset_public.py).
_NETFLIX_NAME = re.compile(r"([A-Za-z]+?)(\d*)_(\d+)fps")
_NETFLIX_SIZE = (1920, 1080)
# BVI-DVC (Ma, Zhang, Bull 2021). A name holds a tier letter A to D (four sizes of one scene), the scene, its
# number if a shoot gave several (S1, S2), and who shot it.
_BVI_NAME = re.compile(r"([ABCD])(\w+?)_(\d+)x(\d+)_(\d+)fps_(\d+)bit_(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a collection, with the facts in its name."""

    path: Path
    """The file."""
    group: str
    """What must not be split between folds."""
    raw: RawGeometry | None
    """Geometry of a raw file; else None."""


def check_layout(name: str | None) -> Layout | None:
    """The layout of that name; raises ConfigError if the name is unknown."""
    known = next((layout for layout in LAYOUTS if layout == name), None)
    if name is not None and known is None:
        raise ConfigError(f"unknown layout {name!r}", next_step=f"choose one of {', '.join(LAYOUTS)}")
    return known


def layout_of(folder: Path) -> Layout:
    """The collection whose naming every file in a folder follows; else `folder`."""
    references = _files(_references(folder), RAW_SUFFIXES)
    if references and all(_NETFLIX_NAME.fullmatch(path.stem) for path in references):
        return "netflix"
    every = _files(folder, VIDEO_SUFFIXES | RAW_SUFFIXES)
    if every and all(_BVI_NAME.fullmatch(path.stem) for path in every):
        return "bvi-dvc"
    return "folder"


def files_in(folder: Path, layout: Layout | None = None, raw: RawGeometry | None = None) -> list[Found]:
    """Originals of a folder, by its layout; None recognises it.

    Raises:
      ConfigError: it holds no video, a name is not of that layout, or a raw file is of unknown geometry.
    """
    layout = layout or layout_of(folder)
    if layout == "netflix":
        return [_netflix(path, raw) for path in _some(_references(folder), RAW_SUFFIXES)]
    every = _some(folder, VIDEO_SUFFIXES | RAW_SUFFIXES)
    return [_bvi_dvc(path, raw) if layout == "bvi-dvc" else found_file(path, raw) for path in every]


def found_file(path: Path, raw: RawGeometry | None = None) -> Found:
    """One file, in a group of its own; a raw one with the geometry given, or that of its name.

    Raises:
      ConfigError: it is raw, and neither says its geometry.
    """
    if path.suffix.lower() not in RAW_SUFFIXES:
        return Found(path, path_text(Path(path.stem)), None)
    geometry = raw or geometry_in_name(path.stem)
    if geometry is None:
        raise ConfigError(
            f"{path} is raw video, and its name does not say its size and rate",
            next_step="add --raw 1920x1080:yuv420p:25, or a manifest with a `raw` field",
        )
    return Found(path, path_text(Path(path.stem)), geometry)


def describe(folder: Path, layout: Layout | None = None) -> str:
    """A sentence on how a folder is read and what is left out; empty for a plain folder or a file."""
    layout = layout or (layout_of(folder) if folder.is_dir() else "folder")
    if layout == "bvi-dvc":
        return f"{folder} is read as BVI-DVC: sizes of a scene and scenes of a shoot share a group"
    if layout == "folder":
        return ""
    left = len(_files(folder / "dis", RAW_SUFFIXES))
    unused = f"; dis/ is not used ({left} finished encodes): a corpus makes its own encodes" if left else ""
    return (
        f"{folder} is read as the Netflix Public dataset: 1920x1080 yuv420p, shots of a film share a group{unused}"
    )


def _references(folder: Path) -> Path:
    return folder if folder.name == "ref" else folder / "ref"


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def _some(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    if found := _files(folder, suffixes):
        return found
    raise ConfigError(f"no video file under {folder}", next_step="name the files")


def _netflix(path: Path, raw: RawGeometry | None) -> Found:
    """Titles that differ in a number only (ElFuente1, ElFuente2) are shots of one film."""
    match = _NETFLIX_NAME.fullmatch(path.stem)
    if match is None:
        raise ConfigError(f"{path} is not named as Title_25fps", next_step="use --layout folder with --raw")
    return Found(path, match[1], raw or RawGeometry(*_NETFLIX_SIZE, "yuv420p", rate_of_name(match[3])))


def _bvi_dvc(path: Path, raw: RawGeometry | None) -> Found:
    """Sizes of a scene and scenes of one shoot share a group."""
    match = _BVI_NAME.fullmatch(path.stem)
    if match is None:
        raise ConfigError(
            f"{path} is not named as ATitle_3840x2176_60fps_10bit_420", next_step="use --layout folder"
        )
    is_raw = path.suffix.lower() in RAW_SUFFIXES
    return Found(path, bvi_group(match[2]), (raw or geometry_in_name(path.stem)) if is_raw else None)


def bvi_group(scene: str) -> str:
    """The shoot a scene belongs to: its name without the number that tells scenes of one shoot apart.

    >>> bvi_group("BasketballS2YonseiUniversity"), bvi_group("BookcaseBVITexture")
    ('BasketballYonseiUniversity', 'BookcaseBVITexture')
    """
    return re.sub(r"(?:S|Scene)\d+(?=[A-Z])", "", scene)
