"""Whether a user's filter chain opens files, and whether it makes each frame of one frame.

Filters that draw subtitles or apply a look-up table are known to read the one file they are given. Others that
read or write files, load code or talk to a network are refused, unless the user allows them (`--unsafe-args`).

Files that a filter chain names, found from the user's folder: ffmpeg may run in another one.
"""

import os
import re
from pathlib import Path

from vmaf_assay.errors import ConfigError

READERS = frozenset({"subtitles", "ass", "lut1d", "lut3d", "nnedi", "drawtext"})
"""Filters that read a file named in the chain and do nothing else with it."""

_OPEN_FILES = frozenset(
    {
        *(
            "movie",
            "amovie",
            "avsynth",
            "removelogo",
            "find_rect",
            "cover_rect",
            "deshake",
            "signature",
            "haldclutsrc",
        ),
        *("vidstabdetect", "vidstabtransform", "vmafmotion", "libvmaf", "ocr", "sofalizer", "whisper", "lcevc"),
        *("frei0r", "frei0r_src", "ladspa", "lv2", "openclsrc", "program_opencl", "coreimage", "coreimagesrc"),
        *("dnn_processing", "dnn_detect", "dnn_classify", "derain", "sr", "drawvg", "qrencode", "qrencodesrc"),
        *("sendcmd", "asendcmd", "zmq", "azmq", "metadata", "ametadata", "graphmonitor", "gfxcapture", "ddagrab"),
        *("psnr", "ssim", "ssim360", "xpsnr", "fieldhint", "fsync", "life", "cellauto", "arnndn", "showcqt"),
        "xfade_opencl",
    }
)

_FILE_OPTIONS = frozenset(
    {
        *("stats_file", "file", "f", "log_path", "psfile", "plot", "cmdfile", "commands", "custom_shader_path"),
        *("shader_cache", "model", "model_path", "datapath", "result", "source", "extra_opts"),
        *("debug_kdtree", "dumpfile", "filename", "fontfile", "hint", "axisfile", "lut"),
    }
)
"""Options that name a file in filters that need none, as `curves=psfile=x`."""


_FRAME_BY_FRAME = frozenset(
    {
        *("null", "crop", "scale", "format", "setsar", "setdar", "pad", "hflip", "vflip", "transpose", "rotate"),
        *(
            "unsharp",
            "eq",
            "hue",
            "lut",
            "lutyuv",
            "lutrgb",
            "lut1d",
            "lut3d",
            "curves",
            "colorbalance",
            "colorspace",
        ),
        *("colormatrix", "setparams", "setrange", "boxblur", "gblur", "avgblur", "smartblur", "drawbox", "delogo"),
    }
)
"""Filters that make each frame of one frame, whatever came before."""


def frame_by_frame(filters: str) -> bool:
    """Whether frame n behind a chain is made of frame n before it alone; False where that is not known.

    >>> frame_by_frame("crop=iw:ih-16,scale=1280:-2"), frame_by_frame("hqdn3d"), frame_by_frame("hue=h=10*t")
    (True, False, False)
    """
    for step in _split(filters, ",") if filters.strip() else []:
        name, _, given = step.strip().partition("=")
        # `n` and `t` in an expression are the frame's number and time.
        if name not in _FRAME_BY_FRAME or re.search(r"\b[nt]\b", given):
            return False
    return True


def check_filters(filters: str) -> None:
    """Refuse a chain that may open files other than those of `READERS`.

    Raises:
      ConfigError: it does; says which filter or option, and what to do.
    """
    for step in _split(filters, ",;"):
        written, _, given = re.sub(r"^\s*(\[[^\]]*\]\s*)*", "", step).strip().partition("=")
        if {"'", "\\"} & set(written):
            raise ConfigError(
                f"--vf {filters!r}: the filter {written} is written with quotes or backslashes",
                next_step="write its name plainly",
            )
        name = written.partition("@")[0].strip()
        if name in READERS:
            continue
        # ffmpeg removes one level of quotes and backslashes from a filter's options before it splits them.
        parts = _split(_unquoted(given), ":")
        options = [option.partition("=")[0].strip() for option in parts if "=" in option]
        loaded = next((option for option in options if option.startswith("/") or option in _FILE_OPTIONS), None)
        if name in _OPEN_FILES or loaded:
            raise ConfigError(
                f"--vf {filters!r}: {name} may open files" + (f" ({loaded})" if loaded else ""),
                next_step="leave it out, or add --unsafe-args if you trust it",
            )


def _unquoted(text: str) -> str:
    r"""The text without one level of quotes and backslashes.

    >>> _unquoted("'stats_file=x'"), _unquoted(r"sta\ts"), _unquoted(r"'a\b'")
    ('stats_file=x', 'stats', 'a\\b')
    """
    return re.sub(r"\\(.)|'([^']*)'?", lambda found: found[1] or found[2] or "", text, flags=re.DOTALL)


def _split(text: str, at: str) -> list[str]:
    """Parts between characters of `at` that are neither quoted nor escaped, as ffmpeg reads a filter chain."""
    parts, quoted, escaped = [""], False, False
    for letter in text:
        if escaped or (letter == "\\" and not quoted):
            escaped = not escaped
        elif letter == "'":
            quoted = not quoted
        elif letter in at and not quoted:
            parts.append("")
            continue
        parts[-1] += letter
    return parts


_READ_FILES = set(
    # As text: one filter more is one word more.
    "subtitles ass movie amovie lut3d lut1d drawtext curves sendcmd removelogo find_rect cover_rect "  # noqa: SIM905
    "vidstabtransform frei0r libplacebo nnedi sr derain dnn_processing".split()
)
"""Filters with an option that names a file or a folder (ffmpeg n9.0)."""

_STEP = re.compile(r"(?:\\.|'[^']*'|\[[^\]]*\]|[^,;\\'\[])+|[,;]")
"""One filter with its labels, or what parts two."""

_WORD = re.compile(r"(?:\\.|'[^']*'|[^:=|\\'])+|[:=|]")
"""One word of a filter's options, or what parts two."""


def absolute_files(filters: str, folder: Path) -> str:
    """The chain with every relative file name that exists in `folder` made absolute.

    Args:
      filters: an ffmpeg filter chain.
      folder: where the user is.
    """
    return "".join(_absolute_step(step, folder) for step in _STEP.findall(filters)) if filters else filters


def named_files(filters: str, folder: Path) -> list[Path]:
    """The files that a chain reads, as far as they exist; their content decides what comes out of the chain."""
    words = (word for step in _STEP.findall(filters) if _reads_files(step) for word in _WORD.findall(step))
    return [path for word in words if (path := folder / _unescaped(word)).is_file()]


def _reads_files(step: str) -> bool:
    name = re.match(r"\s*(?:\[[^\]]*\])*\s*(\w+)", step)
    return name is not None and name[1] in _READ_FILES


def _absolute_step(step: str, folder: Path) -> str:
    if not _reads_files(step):
        return step
    head, equals, options = step.partition("=")
    return head + equals + "".join(_absolute_word(word, folder) for word in _WORD.findall(options))


def _absolute_word(word: str, folder: Path) -> str:
    name = _unescaped(word)
    if not name or os.path.isabs(name) or not (folder / name).exists() or name in (".", ".."):
        return word
    value = re.sub(r"([\\':])", r"\\\1", str(folder / name))
    return re.sub(r"([\\'\[\],;])", r"\\\1", value)


def _unescaped(word: str) -> str:
    """The word without the escapes of a filter's options and of a graph."""
    for _ in range(2):
        word = re.sub(r"\\(.)|'([^']*)'", lambda found: found[1] or found[2] or "", word)
    return word
