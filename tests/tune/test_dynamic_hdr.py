"""HDR10+ and Dolby Vision of the source's frames: carried where the encoder takes them, else announced."""

import re
from pathlib import Path

import pytest

from tests.hdr_units import hdr_clip
from tests.tune.made_up import verified
from vmaf_assay.media import process
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune

pytestmark = pytest.mark.ffmpeg

PLUS, DOLBY = "HDR10+", "Dolby Vision Metadata"


@pytest.fixture(scope="module")
def clips(ffmpeg, tmp_path_factory) -> dict[str, Path]:
    """A clip with each kind."""
    return {name: hdr_clip(ffmpeg, tmp_path_factory.mktemp(name), **{name: True}) for name in ("plus", "dolby")}


def said_by_ffmpeg(ffmpeg, path: Path, kind: str) -> list[str]:
    """What plain ffmpeg prints of a kind of side data, frame by frame."""
    done = process.run([ffmpeg.path, "-hide_banner", "-i", str(path), "-vf", "showinfo", "-f", "null", "-"])
    return [line.partition(kind)[2] for line in done.stderr.splitlines() if "showinfo" in line and kind in line]


def profile(ffmpeg, path: Path) -> str:
    """The Dolby Vision profile in the file's header, by plain ffmpeg."""
    done = process.run([ffmpeg.path, "-hide_banner", "-i", str(path)])
    found = re.search(r"DOVI configuration record: .*profile: (\d+),.*compatibility id: (\d+)", done.stderr)
    return f"{found[1]}.{found[2]}" if found else ""


def tuned(ffmpeg, clip: Path, encoder: str, out: Path, **asked):
    """An encode of the clip, and what was said before it."""
    notes: list[str] = []
    request = TuneRequest(clip, encoder, 70.0, 0.8, trials=0, output=out, **asked)
    return tune(ffmpeg, verified(), request, on_note=notes.append), notes


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_hdr10plus_of_every_frame_is_carried_by_libx265(ffmpeg, clips, tmp_path, name):
    """Every value of every frame is in the output, in order, as ffmpeg reads both."""
    result, notes = tuned(ffmpeg, clips["plus"], "libx265:ultrafast", tmp_path / name)
    before = said_by_ffmpeg(ffmpeg, clips["plus"], PLUS)
    assert len(set(before)) == 8
    assert said_by_ffmpeg(ffmpeg, tmp_path / name, PLUS) == before
    assert "HDR10+ metadata of every frame is carried by libx265" in notes
    assert result.losses == []


@pytest.mark.parametrize(
    ("encoder", "name", "kind"),
    [
        ("libx265:ultrafast", "out.mkv", "8.1"),
        ("libx265:ultrafast", "out.mp4", "8.1"),
        ("libsvtav1:12", "out.mp4", "10.1"),
    ],
)
def test_dolby_vision_is_carried(ffmpeg, clips, tmp_path, encoder, name, kind):
    """The header names the profile, every frame has its metadata, and probes are made with the same options."""
    result, notes = tuned(ffmpeg, clips["dolby"], encoder, tmp_path / name, verify=True)
    assert profile(ffmpeg, clips["dolby"]) == "8.1"
    assert profile(ffmpeg, tmp_path / name) == kind
    assert len(said_by_ffmpeg(ffmpeg, tmp_path / name, DOLBY)) == 8
    assert any(note.startswith("Dolby Vision metadata is carried by") for note in notes)
    assert result.losses == []
    measured = {probe.rate_value: probe.vmaf for probe in result.probes}
    if result.rate_value in measured:  # of the same frames by the same command
        assert result.measured_vmaf == pytest.approx(measured[result.rate_value], abs=1e-4)


@pytest.mark.parametrize(
    ("clip", "encoder", "asked", "words"),
    [
        ("plus", "libsvtav1:12", {}, "HDR10+ metadata is lost: the encoder does not write it"),
        ("dolby", "libx264:ultrafast", {}, "Dolby Vision metadata is lost: the encoder does not write it"),
        (
            *("dolby", "libx265:ultrafast", {"pictures": PictureRequest(crop="192:96:0:6")}),
            "Dolby Vision metadata is lost: it describes the picture before the filters",
        ),
    ],
)
def test_what_is_lost_is_said_first(ffmpeg, clips, tmp_path, clip, encoder, asked, words):
    """One line before the first encode, and the same in `losses`; the output has none of it."""
    out = tmp_path / "out.mkv"
    result, notes = tuned(ffmpeg, clips[clip], encoder, out, **asked)
    assert f"lost in the output: {words}" in notes
    assert result.as_json()["losses"] == [words]
    assert said_by_ffmpeg(ffmpeg, out, PLUS) + said_by_ffmpeg(ffmpeg, out, DOLBY) == []


@pytest.mark.parametrize("asked", [{"pictures": PictureRequest(tonemap="hable")}, {"filters": "own"}])
def test_sdr_made_of_hdr_says_nothing_of_hdr(ffmpeg, clips, tmp_path, asked):
    """Mastering display, MaxCLL and HDR10+ describe the picture before: they are not in an SDR encode."""
    own = (
        "zscale=t=linear:npl=100,format=gbrpf32le,tonemap=hable,zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p"
    )
    out = tmp_path / "out.mkv"
    asked = {"filters": own} if "filters" in asked else asked
    result, _ = tuned(ffmpeg, clips["plus"], "libx265:ultrafast", out, **asked)
    assert result.losses == ["HDR10+ metadata is lost: it describes the HDR picture"]
    source = said_by_ffmpeg(ffmpeg, clips["plus"], "Mastering display")
    done = process.run([ffmpeg.path, "-hide_banner", "-i", str(out), "-vf", "showinfo", "-f", "null", "-"])
    words = ("Mastering display", "Content light", PLUS)
    assert len(source) == 8
    assert [word for word in words if word in done.stderr] == []
