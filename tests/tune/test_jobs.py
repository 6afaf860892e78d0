"""Every row of docs/jobs.md, run: promise, reasons, encodes and what is compared are as the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.conftest import lavfi
from vmaf_assay.api import load_ensemble
from vmaf_assay.errors import AssayError
from vmaf_assay.media.encoders.driven import Drive
from vmaf_assay.promise.promise import NoPromiseCode
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.request import DEFAULT_TARGET, TuneRequest
from vmaf_assay.tune.run import tune

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
PLAIN = "testsrc2=size=192x108:rate=25,noise=alls=8:allf=t"
MOVING = "testsrc2=size=176x120:rate={},scroll=h=0.013:v=0.007,scale=192:128,noise=alls=8"
LINES = "color=gray:size=2562x1442:rate=25,drawgrid=w=97:h=61:t=7"
_LOSSLESS = ("-c:v", "ffv1", "-pix_fmt")
_FIELDS = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p")
_WOVEN = "tinterlace=interleave_top,setfield=tff"


def _hdr(transfer: str) -> str:
    return f"{PLAIN},setparams=color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc"


CLIPS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "plain": (PLAIN, 24, (*_LOSSLESS, "yuv420p")),
    "noise": ("color=gray:size=192x108:rate=25,noise=alls=100:allf=t", 12, (*_LOSSLESS, "yuv420p")),
    "deep": (PLAIN, 12, (*_LOSSLESS, "yuv420p10le")),
    "422": (PLAIN, 12, (*_LOSSLESS, "yuv422p")),
    "444": (PLAIN, 12, (*_LOSSLESS, "yuv444p")),
    "gray": (f"{PLAIN},format=gray,setparams=range=tv", 12, ("-color_range", "tv", *_LOSSLESS, "gray")),
    "palette": (PLAIN, 12, ("-c:v", "png", "-pix_fmt", "pal8")),
    "alpha": (
        f"{PLAIN},format=yuva420p,geq=lum='lum(X,Y)':a='if(lt(X,80),90,255)'",
        *(12, (*_LOSSLESS, "yuva420p")),
    ),
    "full": (
        f"{PLAIN},scale=out_range=pc,format=yuv420p,setparams=range=pc",
        *(12, ("-color_range", "pc", *_LOSSLESS, "yuv420p")),
    ),
    "large": (LINES, 2, (*_LOSSLESS, "yuv420p")),
    "pq": (_hdr("smpte2084"), 12, (*_LOSSLESS, "yuv420p10le")),
    "hlg": (_hdr("arib-std-b67"), 12, (*_LOSSLESS, "yuv420p10le")),
    "interlaced": (f"{MOVING.format(50)},{_WOVEN}", 14, (*_FIELDS, "-x264-params", "tff=1")),
    "telecined": (
        f"{MOVING.format('24000/1001')},telecine=first_field=top:pattern=23",
        *(30, (*_FIELDS, "-x264-params", "tff=1")),
    ),
    "mixed": (
        f"{MOVING.format(30)},trim=end_frame=20[a];{MOVING.format(60)},{_WOVEN},trim=end_frame=20[b];"
        "[a][b]concat,setfield=tff",
        *(40, (*_FIELDS, "-x264-params", "tff=1")),
    ),
    "variable": (f"{PLAIN},select=mod(n\\,3)", 24, ("-fps_mode", "vfr", *_LOSSLESS, "yuv420p")),
    "bars": (f"{PLAIN},pad=192:144:0:18", 12, (*_LOSSLESS, "yuv420p")),
    "small": (PLAIN, 24, ("-c:v", "libx264", "-preset", "veryfast", "-crf", "44", "-pix_fmt", "yuv420p")),
}
"""Graph, frames and output options of each clip, as plain ffmpeg takes them."""


class Job:
    """One row: a clip, what is asked, and what else the answer says."""

    def __init__(self, clip: str, *, says: Callable[[Any], object] | None = None, out: bool = False, **asked: Any):
        self.clip, self.says, self.out, self.asked = clip, says, out, asked


def _made(**asked: Any) -> dict[str, Any]:
    return {"pictures": PictureRequest(**asked)}


_GOAL = {"target_vmaf": DEFAULT_TARGET}
JOBS = {
    "a trained encoder and preset": Job("plain"),
    "the same, `--trials 0`": Job("plain", trials=0),
    "an encoder never trained on, as libopenh264": Job("plain", encoder="libopenh264"),
    "a preset without trained neighbours, as libx264 ultrafast": Job("plain", preset="ultrafast"),
    'own options, as `--encoder-args "-tune grain"`': Job("plain", encoder_args="-tune grain"),
    "a source unlike the calibration, as noise alone": Job(
        "noise", says=lambda r: r.encodes_spent + r.encodes_cached == 5
    ),
    "any other encoder of ffmpeg's, `--rate-flag`": Job("plain", encoder="mpeg2video", drive=Drive("-q:v", 1, 31)),
    "finer steps, `--rate-step 0.25`": Job(
        "plain", says=lambda r: (4 * r.rate_value).is_integer(), encoder="libsvtav1:13", drive=Drive(step=0.25)
    ),
    "10 bit": Job("deep", says=lambda r: "10 bit are rounded to 8" in " ".join(r.pictures.notes + r.reasons)),
    "10 bit, `--bit-depth source`": Job("deep", depth_of_source=True),
    "4:2:2": Job("422"),
    "4:4:4, `--chroma source`": Job("444", **_made(chroma="source")),
    "gray of limited range": Job("gray"),
    "palette": Job("palette"),
    "transparency, `--background black`": Job("alpha", **_made(background="black")),
    "transparency, no colour": Job("alpha"),
    "full range": Job("full", says=lambda r: r.pictures.range == "full"),
    "full range, `--range limited`": Job("full", **_made(range="limited")),
    "4K": Job("large", preset="ultrafast"),
    "HDR10": Job("pq"),
    "HLG": Job("hlg"),
    "HDR10, `--tonemap hable`": Job("pq", **_made(tonemap="hable")),
    "interlaced": Job("interlaced", says=lambda r: r.pictures.fields == "interlaced"),
    "telecined": Job("telecined", says=lambda r: (r.pictures.fields, r.n_frames) == ("telecined", 24)),
    "partly interlaced": Job("mixed", says=lambda r: r.pictures.fields == "mixed"),
    "interlaced, `--deinterlace off`": Job("interlaced", **_made(deinterlace="off")),
    "another size from the middle on": Job("joined"),
    "another size from the middle on, `--changes first`": Job("joined", **_made(changes="first")),
    "variable frame rate": Job("variable", says=lambda r: r.n_frames == 24),
    "black bars, `--crop auto`": Job(
        "bars", says=lambda r: r.pictures.crop == "192:108:0:18", **_made(crop="auto")
    ),
    "an encode larger than its source": Job("small", says=lambda r: r.larger_than_source, target_vmaf=97.0),
    "`--max-ratio 0.001`, which none keeps": Job("plain", says=lambda r: not r.met, max_ratio=0.001),
    "`--target-bitrate 600`": Job("plain", says=lambda r: r.bitrate_promised, target_kbps=600.0, **_GOAL),
    "`--target-size 0.06`": Job("plain", says=lambda r: r.bitrate_promised, out=True, target_bytes=6e4, **_GOAL),
    "`--target-bitrate 600 --two-pass`": Job(
        *("plain",),
        says=lambda r: r.bitrate_promised is False,
        out=True,
        target_kbps=600.0,
        two_pass=True,
        **_GOAL,
    ),
    "`--max-bitrate 100 --best-within`, which the target exceeds": Job(
        "plain", says=lambda r: r.best_within, max_kbps=100.0, best_within=True, **_GOAL
    ),
}


def rows() -> list[list[str]]:
    """Cells of every row of the page's tables, without the heads."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "job"]


def test_every_row_is_run():
    """The page has the rows that this file runs, each with six cells, and no other."""
    assert [row[0] for row in rows()] == list(JOBS)
    assert {len(row) for row in rows()} == {6}


@pytest.fixture(scope="module")
def clips(ffmpeg, tmp_path_factory):
    """Makes each clip once."""
    folder = tmp_path_factory.mktemp("jobs")

    def make(name: str) -> Path:
        if name == "joined":  # as people join MPEG-TS
            sizes = [
                lavfi(ffmpeg, folder / f"{size}.ts", "-frames:v", "12", "-preset", "ultrafast", graph=graph)
                for size in ("192x108", "160x90")
                for graph in [PLAIN.replace("192x108", size)]
            ]
            (folder / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in sizes))
            return folder / "joined.ts"
        graph, frames, args = CLIPS[name]
        path = folder / f"{name}.mkv"
        return path if path.exists() else lavfi(ffmpeg, path, "-frames:v", str(frames), *args, graph=graph)

    return make


@pytest.fixture(scope="module")
def shipped():
    """The shipped forecast."""
    return load_ensemble()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Probes and trials of this file, so that each is made once."""
    folder = tmp_path_factory.mktemp("kept")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_STATE_DIR", str(tmp_path_factory.mktemp("key")))
        yield Cache(folder)


@pytest.mark.ffmpeg
@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_job_gets_what_the_page_says(ffmpeg, shipped, clips, kept, tmp_path, row):
    """Promise, reasons, probes and trials, model and pixel format: as in the row, with the shipped forecast."""
    name, promise, reasons, encodes, compared, _ = row
    job = JOBS[name]
    asked = {"encoder": "libx264", "target_vmaf": 80.0, "confidence": 0.9, **job.asked}
    request = TuneRequest(clips(job.clip), output=tmp_path / "out.mkv" if job.out else None, **asked)
    if promise == "refused":
        with pytest.raises(AssayError, match=reasons):
            tune(ffmpeg, shipped, request, cache=kept)
        return
    result = tune(ffmpeg, shipped, request, cache=kept)
    codes = " ".join(f"`{reason.code}`" for reason in result.promise.reasons)
    probes = result.promise.own_encodes - len(result.trials) if result.promise.own_encodes else len(result.probes)
    model = "" if result.vmaf_model == "vmaf_v0.6.1" else f"`{result.vmaf_model}` "
    assert [
        *("yes" if result.promised else "no", codes, f"{probes} + {len(result.trials)}"),
        f"{model}`{result.pictures.compared_pix_fmt}`",
    ] == [promise, reasons, encodes, compared]
    assert result.encodes_spent + result.encodes_cached >= probes + len(result.trials)
    assert job.says is None or job.says(result)


def test_codes_on_the_page_exist():
    """Every reason in the tables is a code of `promise.reasons`."""
    said = {code for row in rows() for code in re.findall(r"`(\w+)`", row[2])}
    assert said <= set(get_args(NoPromiseCode))
