"""Versions of the tools that determine a measurement: ffmpeg, libvmaf, each encoder."""

import re
import tempfile
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.capability import check_encoder
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score


def lavfi_frames(ffmpeg: Ffmpeg, folder: Path, *, n_frames: int = 2) -> ReferenceInput:
    """A generated 320x192 test clip in `folder`, as a reference."""
    path = folder / "versions.y4m"
    argv = commands.test_clip(n_frames).argv(ffmpeg, output=path)
    done = process.run(argv, timeout_s=60)
    if done.exit_code != 0:
        raise failure("generating two test frames", done)
    return ReferenceInput(path, Fraction(25), n_frames)


def tool_versions(ffmpeg: Ffmpeg, encoders: list[str], *, scratch: Path | None = None) -> dict[str, str]:
    """Versions by name: `ffmpeg`, `libvmaf` and every encoder given.

    `scratch` holds the test frames; by default the system's temporary folder.

    An encoder that reports no version (hardware: the driver decides) gets ffmpeg's version.

    Raises:
      ToolError: an encoder is not usable here; the message says why.
    """
    versions = {"ffmpeg": ffmpeg.version}
    with tempfile.TemporaryDirectory(prefix="assay-versions-", dir=scratch) as name:
        reference = lavfi_frames(ffmpeg, Path(name))
        scored = encode_and_score(ffmpeg, reference, encoder_info("libx264"), "ultrafast", 30, scratch=scratch)
        versions["libvmaf"] = scored.libvmaf_version
        for encoder in encoders:
            info = ENCODERS.get(encoder)  # one outside the table is ffmpeg's own, or tells nothing
            known = encoder_version(ffmpeg, info, reference.path) if info else f"in ffmpeg {ffmpeg.version}"
            versions[encoder] = known
    return versions


class ToolVersions:
    """Versions of ffmpeg, libvmaf and one encoder; each pair of ffmpeg and encoder is asked once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, str]] = {}

    def __call__(self, ffmpeg: Ffmpeg, encoder: str) -> dict[str, str]:
        """The versions by name; raises ToolError if the encoder does not work here."""
        key = (ffmpeg.path, encoder)
        if key not in self._known:
            self._known[key] = tool_versions(ffmpeg, [encoder])
        return self._known[key]


def encoder_version(ffmpeg: Ffmpeg, encoder: EncoderInfo, clip: Path) -> str:
    """The encoder's version, from an encode of `clip`; raises ToolError if that fails."""
    argv = commands.name_itself(encoder).argv(ffmpeg, level="verbose", source=clip)
    done = process.run(argv, timeout_s=120)
    if done.exit_code != 0 or not done.stdout:
        answer = check_encoder(ffmpeg, encoder)
        reason = answer.detail or done.tail(1)
        raise ToolError(
            f"encoder {encoder.name} does not work here: {reason}",
            next_step="choose one that `assay doctor` calls usable",
            argv=done.argv,
            exit_code=done.exit_code,
        )
    pattern = encoder.version_pattern
    match = re.search(pattern, done.stdout + done.stderr.encode()) if pattern else None
    if match is None:
        return f"in ffmpeg {ffmpeg.version}"
    return " ".join(part.decode().strip() for part in match.groups())
