"""What works on this machine, found by trying, and the versions of the tools that determine a measurement."""

import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vmaf_assay.errors import AssayError, ConfigError, ToolError
from vmaf_assay.media import commands, process
from vmaf_assay.media.commands import VMAF_MODEL
from vmaf_assay.media.encoders import ENCODERS, EncoderInfo, encoder_info
from vmaf_assay.media.ffmpeg import Ffmpeg, failure
from vmaf_assay.media.files import read_json_strict
from vmaf_assay.media.reference import ReferenceInput
from vmaf_assay.media.score import encode_and_score

TIMEOUT_S = 30.0
"""Longest time for one frame; a hanging hardware driver is reported after it."""

SELF_SCORE = 95.0
"""Lowest score of a picture against itself, points; without motion `vmaf_v0.6.1` gives about 97.4."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether one thing works here, and if not, why."""

    name: str
    """ffmpeg's encoder name, or the libvmaf model's."""
    usable: bool
    """True if one frame went through."""
    detail: str
    """The version if usable and known, else ffmpeg's own message."""


def check_libvmaf(ffmpeg: Ffmpeg) -> Capability:
    """Score one frame against itself with the model every score here uses; `detail` is libvmaf's version.

    If a frame against itself scores less than `SELF_SCORE`, libvmaf is broken.
    """
    with tempfile.TemporaryDirectory(prefix="assay-doctor-") as folder:
        argv = commands.score_itself().argv(ffmpeg)
        done = process.run(argv, cwd=Path(folder), timeout_s=TIMEOUT_S)
        if done.exit_code != 0:
            return Capability(VMAF_MODEL, False, explain(done))
        try:
            log = read_json_strict(Path(folder) / "vmaf.json")
            score = float(log["frames"][0]["metrics"]["vmaf"])
        except (AssayError, KeyError, IndexError, TypeError, ValueError) as error:
            return Capability(VMAF_MODEL, False, f"libvmaf left no readable log ({error})")
    if score < SELF_SCORE:
        return Capability(
            VMAF_MODEL, False, f"a frame against itself scores {score:.1f}, not {SELF_SCORE:g} or more"
        )
    return Capability(VMAF_MODEL, True, str(log.get("version", "version not stated")))


def check_encoder(ffmpeg: Ffmpeg, encoder: EncoderInfo) -> Capability:
    """Encode one frame with the table's own options, at the middle of the declared range."""
    argv = commands.try_encoder(encoder, encoder.default_preset).argv(ffmpeg, output="-")
    done = process.run(argv, timeout_s=TIMEOUT_S)
    if done.exit_code == 0:
        return Capability(encoder.name, True, "")
    # A missing encoder fails on its first private option, which hides the cause.
    listed = process.run([ffmpeg.path, "-hide_banner", "-encoders"], timeout_s=TIMEOUT_S).stdout
    missing = f" {encoder.name} ".encode() not in listed
    detail = "not in this ffmpeg" if missing else explain(done)
    return Capability(encoder.name, False, f"{detail}; it needs {encoder.needs}" if encoder.needs else detail)


_NOT_TAKEN = re.compile(
    r"error parsing option|unknown option|unknown parameter|invalid value|invalid option|option .* not found|"
    r"bad value|failed to set|unrecognized|not supported in|codec avoption .* has not been used",
    re.IGNORECASE,
)
"""How encoders and ffmpeg say that a setting was read and not applied."""


def check_extra_args(ffmpeg: Ffmpeg, encoder: EncoderInfo) -> None:
    """Encode one frame with the user's own options.

    Raises:
      ConfigError: they do not work, or the encoder warns that it does not apply one of them.
    """
    if not encoder.extra_args:
        return
    argv = commands.try_encoder(encoder, encoder.default_preset).argv(ffmpeg, level="warning", output="-")
    done = process.run(argv, timeout_s=TIMEOUT_S)
    plain = commands.try_encoder(replace(encoder, extra_args=()), encoder.default_preset)
    usual = process.run(plain.argv(ffmpeg, level="warning", output="-"), timeout_s=TIMEOUT_S).stderr
    warned = [line for line in _lines(done.stderr) if _NOT_TAKEN.search(line) and line not in set(_lines(usual))]
    reason = warned[0] if warned else explain(done) if done.exit_code != 0 else ""
    if reason:
        raise ConfigError(
            f"--encoder-args {shlex.join(encoder.extra_args)!r} do not work with {encoder.name}: {reason}",
            next_step=f"see `ffmpeg -h encoder={encoder.name}`",
        )


def check_encoders(ffmpeg: Ffmpeg) -> Iterator[Capability]:
    """One result for each encoder of the table, in its order."""
    for encoder in ENCODERS.values():
        yield check_encoder(ffmpeg, encoder)


def explain(done: process.Completed) -> str:
    """The first line of ffmpeg's stderr, which names the cause; later lines are consequences."""
    if done.killed:
        return "ffmpeg was killed (out of memory?)"
    if done.timed_out:
        return f"did not finish one frame in {TIMEOUT_S:g} s"
    if lines := _lines(done.stderr):
        return lines[0]
    return f"ffmpeg exited {done.exit_code} without a message"


def _lines(stderr: str) -> list[str]:
    """What ffmpeg said, line by line, without who said it: the address in it changes with every run."""
    texts = (re.sub(r"^(\[[^]]*\] )+", "", line.strip()) for line in stderr.splitlines())
    return [text for text in texts if text]


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
