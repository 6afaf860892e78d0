"""A promise is bound to the tools that it was calibrated with, or to a build that was measured to be as good."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import lavfi
from tests.tune.made_up import verified
from vmaf_assay.api import forecast_encoder, probe_source
from vmaf_assay.cli.main import main
from vmaf_assay.errors import ToolError
from vmaf_assay.media.capability import tool_versions
from vmaf_assay.media.ffmpeg import find_ffmpeg
from vmaf_assay.outcomes import builds
from vmaf_assay.outcomes.builds import BuildCell, EncoderCheck, build_id, check_build, judged, record_build
from vmaf_assay.outcomes.store import OutcomeStore
from vmaf_assay.promise import tools
from vmaf_assay.promise.tools import CORPORA, MEASURED_WITH, tools_reason
from vmaf_assay.registry.store import load_verified, registry_dir
from vmaf_assay.tune.request import TuneRequest
from vmaf_assay.tune.run import tune

OTHER = dict(MEASURED_WITH) | {"ffmpeg": "6.0-theirs"}
"""The same encoders in another ffmpeg."""


@pytest.fixture(scope="module")
def source(ffmpeg, tmp_path_factory) -> Path:
    """`-f lavfi -i testsrc2=size=192x108:rate=25,noise=alls=12:allf=t -frames:v 12 -c:v ffv1 source.mkv`."""
    path = tmp_path_factory.mktemp("builds") / "source.mkv"
    graph = "testsrc2=size=192x108:rate=25,noise=alls=12:allf=t"
    return lavfi(ffmpeg, path, "-frames:v", "12", "-c:v", "ffv1", "-pix_fmt", "yuv420p", graph=graph)


def calibrated_with(versions):
    """The made-up ensemble, calibrated with these tools."""
    one = verified(own=True)
    stated = {name: [version] for name, version in versions.items()}
    one.ensemble.sidecar = one.ensemble.sidecar.model_copy(update={"tools": stated})
    return one


def code_of(result) -> list[str]:
    """Codes of the reasons against a promise."""
    return [reason.code for reason in result.promise.reasons]


def test_the_shipped_models_say_what_they_were_calibrated_with():
    """Both shipped ensembles name their tools, themselves or by a corpus of this project."""
    for name in ("vmaf_forecast_ensemble_v1", "fr_regressor_v2_ensemble_v1"):
        sidecar = load_verified(registry_dir(), name).ensemble.sidecar
        assert tools.calibrated_tools(sidecar).keys() >= {"ffmpeg", "libvmaf", "libx264"}


def test_the_table_is_that_of_the_corpus():
    """`MEASURED_WITH` is what every cell of the corpus in this checkout says, and its digest is listed."""
    index = json.loads((Path(__file__).parents[2] / "data" / "corpus" / "corpus.json").read_bytes())
    if index["digest"] not in CORPORA:
        pytest.fail("this corpus is not in `CORPORA`: its models must name their tools, or add it")
    for cell in index["cells"]:
        assert cell["versions"].items() <= MEASURED_WITH.items()


@pytest.mark.ffmpeg
def test_the_bundled_ffmpeg_is_the_calibrated_one(ffmpeg):
    """What a plain install brings promises, with every encoder in it."""
    encoders = sorted(MEASURED_WITH.keys() - {"ffmpeg", "libvmaf"})
    assert tool_versions(ffmpeg, encoders) == MEASURED_WITH


def test_every_tool_counts():
    """Another version, an uncalibrated tool, no tool, or a silent model: each is a reason that names it."""
    sidecar = calibrated_with({"ffmpeg": "1", "libvmaf": "2", "libx264": "3"}).ensemble.sidecar
    assert tools_reason(sidecar, {"ffmpeg": "1", "libx264": "3"}) == ""
    assert "libvmaf 9" in tools_reason(sidecar, {"ffmpeg": "1", "libvmaf": "9"})
    assert "libx265 3" in tools_reason(sidecar, {"libx265": "3"})
    assert "which ffmpeg and encoder" in tools_reason(sidecar, {})
    silent = sidecar.model_copy(update={"tools": None})
    assert "does not say" in tools_reason(silent, {"ffmpeg": "1"})
    of_old = silent.model_copy(update={"corpus_digest": CORPORA[0]})
    assert tools_reason(of_old, MEASURED_WITH) == ""


@pytest.mark.ffmpeg
def test_an_unknown_ffmpeg_makes_the_encode_and_no_promise(ffmpeg, source, tmp_path):
    """With another ffmpeg than the calibrated one: encoded, `promised: false`, its own code, and what to do."""
    request = TuneRequest(source, "libx264", 85.0, 0.9, trials=0, output=tmp_path / "out.mkv")
    result = tune(ffmpeg, calibrated_with(OTHER), request)
    document = result.as_json()
    assert (document["promised"], code_of(result)) == (False, ["tools_not_calibrated"])
    assert document["promise"]["calibrated_kind"] is False
    assert ffmpeg.version in document["answer"]
    assert not result.met
    assert (tmp_path / "out.mkv").exists()
    assert tune(ffmpeg, calibrated_with(MEASURED_WITH), replace(request, output=None)).promised


@pytest.mark.ffmpeg
def test_the_python_interface_is_bound_too(ffmpeg, source):
    """`forecast_encoder` carries the reason to `choose_rate`, also for probes of which no ffmpeg is known."""
    ensemble = calibrated_with(OTHER)
    probed = probe_source(source, ensemble, encoders=["libx264"], ffmpeg=ffmpeg)
    assert ffmpeg.version in forecast_encoder(probed, ensemble, "libx264").uncalibrated_tools
    unknown = forecast_encoder(replace(probed, ffmpeg=None), verified(own=True), "libx264")
    assert "nothing says" in unknown.uncalibrated_tools
    assert forecast_encoder(probed, verified(own=True), "libx264").uncalibrated_tools == ""


@pytest.mark.ffmpeg
def test_a_measured_build_may_promise_until_it_changes(ffmpeg, source, tmp_path, monkeypatch):
    """Measured near enough: promised. With another executable, encoder or set of cells: not any more."""
    monkeypatch.setenv("ASSAY_OUTCOMES", str(tmp_path / "outcomes"))
    monkeypatch.setattr(builds, "MEASURED_WITH", OTHER)  # the set is then one that another ffmpeg measured
    ensemble, request = calibrated_with(OTHER), TuneRequest(source, "libx264", 85.0, 0.9, trials=0)
    assert "doctor --calibrate" in tune(ffmpeg, ensemble, request).answer()
    (check,) = check_build(ffmpeg, ["libx264"])
    assert check.why_not == ""
    assert (check.worst_points, check.worst_kbps) == (pytest.approx(0, abs=1e-3), pytest.approx(0, abs=1e-3))
    with OutcomeStore(tmp_path / "outcomes") as store:
        record_build(store, ffmpeg, [check])
    assert tune(ffmpeg, ensemble, request).promised
    with OutcomeStore(tmp_path / "outcomes") as store:
        facts = store.build(build_id(ffmpeg))
        assert facts["versions"]["libx264"] == MEASURED_WITH["libx264"]
        store.add_build(build_id(ffmpeg), facts.pop("day"), facts | {"limits": [1.0, 1.0, 1.0]})
    assert code_of(tune(ffmpeg, ensemble, request)) == ["tools_not_calibrated"]
    with OutcomeStore(tmp_path / "outcomes") as store:
        record_build(store, ffmpeg, [replace(check, version="164")])
    assert "did not admit libx264" in tune(ffmpeg, ensemble, request).answer()
    with OutcomeStore(tmp_path / "outcomes") as store:
        record_build(store, ffmpeg, [check])
    copy = tmp_path / "ffmpeg"
    shutil.copy(ffmpeg.path, copy)
    with copy.open("ab") as handle:
        handle.write(b"\0")
    changed = find_ffmpeg(str(copy))
    assert changed.version == ffmpeg.version
    assert code_of(tune(changed, ensemble, request)) == ["tools_not_calibrated"]


@pytest.mark.parametrize(
    ("shifts", "rates", "words"),
    [
        ((0.0, 0.0), (1.0, 1.0), ""),
        ((0.19, -0.19), (1.02, 0.98), ""),
        ((0.21, -0.19), (1.0, 1.0), "VMAF of a cell differs by 0.21"),
        ((-0.15, -0.15), (1.0, 1.0), "mean VMAF differs by 0.15"),
        ((0.0, 0.0), (1.04, 1.0), "bitrate of a cell differs by 4 %"),
        ((float("nan"), 0.0), (1.0, 1.0), "VMAF of a cell"),
    ],
)
def test_limits_of_a_check(shifts, rates, words):
    """Each limit by itself refuses, a shift of all cells too, and what is not a number."""
    measured = [
        (BuildCell("pattern", "libx264", "medium", 24.0, 90.0, 100.0), 90.0 + shift, 100.0 * rate)
        for shift, rate in zip(shifts, rates, strict=True)
    ]
    check = judged("libx264", "165", measured)
    assert (words in check.why_not) if words else check.why_not == ""


def test_an_encoder_without_cells_may_not_promise():
    """An encoder that the fixed set lacks was not checked."""
    assert judged("hevc_nvenc", "1", []).why_not == "no cell of it is in the fixed set"


@pytest.mark.ffmpeg
def test_other_pictures_are_not_compared(ffmpeg, monkeypatch):
    """A build whose sources make other clips is refused, whatever it would measure on them."""
    monkeypatch.setitem(builds.CLIPS, "pattern", "testsrc=size=320x180:rate=25")
    with pytest.raises(ToolError, match="other pictures"):
        check_build(ffmpeg, ["libx264"])


@pytest.mark.ffmpeg
def test_doctor_calibrates_by_exit_code(ffmpeg, tmp_path, monkeypatch, capsys):
    """`doctor --calibrate`: 0 if all encoders here may promise, else 1; recorded either way."""
    monkeypatch.setenv("ASSAY_OUTCOMES", str(tmp_path))
    good = EncoderCheck("libx264", "165", 0.01, 0.0, 0.0, "")
    bad = EncoderCheck("libx265", "9", 3.0, 1.0, 0.2, "VMAF of a cell differs by 3, 0.2 allowed")
    absent = EncoderCheck("libvvenc", "", 0.0, 0.0, 0.0, "does not work here: not in this ffmpeg")
    for checks, code in (([good, absent], 0), ([good, bad], 1), ([bad], 1), ([absent], 1)):
        monkeypatch.setattr(builds, "check_build", lambda *_, found=checks: found)
        assert main(["doctor", "--calibrate", "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert [one["promises"] for one in document["encoders"]] == [not one.why_not for one in checks]
        with OutcomeStore(tmp_path) as store:
            known = store.build(build_id(ffmpeg))["versions"]
        assert (set(known) - {"ffmpeg", "libvmaf"}) == {one.encoder for one in checks if not one.why_not}
