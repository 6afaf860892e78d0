"""Scores of two measurands never meet: corpus, training, calibration, sidecar, verdict and request name theirs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune.made_up import verified
from vmaf_assay.corpus.store import as_json, cell_record, corpus_digest
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.model.sidecar import ChoiceCalibration, Sidecar
from vmaf_assay.records import FRAME_VMAF, MEAN_VMAF, METRICS, CellRecord, Measurand
from vmaf_assay.registry.store import admitting_verdict, read_registry, registry_dir, verify_row
from vmaf_assay.tune.plan import calibrated_margin
from vmaf_assay.tune.request import TuneRequest


def cell(**changes) -> CellRecord:
    """A cell that is well formed."""
    facts = {
        "key": "0" * 64,
        "source": "s",
        "group": "g",
        "encoder": "libx264",
        "preset": "medium",
        "rate_mode": "crf",
        "rate_value": 30.0,
        "width": 64,
        "height": 36,
        "frame_rate": "25/1",
        "n_frames": 2,
        "bytes": 10,
        "kbps": 1.0,
        "encode_s": 0.1,
        "versions": {"ffmpeg": "9"},
        "content_sha256": "1" * 64,
    }
    return CellRecord(**(facts | changes))


@given(st.sampled_from(sorted(METRICS)), st.sampled_from(["frame", "mean"]), st.sampled_from([8, 10, 12]))
def test_text_round_trips(model, pooling, depth):
    """A measurand is its text, and its text is a measurand."""
    measurand = Measurand(model, pooling, depth)
    assert Measurand.parse(str(measurand)) == measurand


@pytest.mark.parametrize(
    "text", ["", "vmaf_v0.6.1", "vmaf_v9 mean 8-bit", "vmaf_v0.6.1 median 8-bit", "vmaf_v0.6.1 mean"]
)
def test_unknown_is_refused(text):
    """What this release does not know is refused, never taken for VMAF v0.6.1."""
    with pytest.raises(ValueError, match="unknown to this release"):
        Measurand.parse(text)


def test_a_cell_of_an_unknown_measurand_is_refused():
    """A corpus of a later release is not read as if it were ours."""
    entry = as_json(cell(measurand="vmaf_v9 frame 8-bit"))
    with pytest.raises(IntegrityError, match="vmaf_v9"):
        cell_record(entry, "corpus.json")


def test_the_measurand_is_content():
    """Two corpora that differ in it alone differ in digest; the first is not written."""
    first, deeper = cell(), cell(measurand=str(Measurand("vmaf_v0.6.1", "frame", 10)))
    assert corpus_digest([first]) != corpus_digest([deeper])
    assert first.measurand == str(FRAME_VMAF)


def test_a_calibration_of_another_measurand_does_not_fit_a_sidecar():
    """An ensemble that answers in one measurand cannot carry the margins of another."""
    made = verified()
    assert isinstance(made.calibration, ChoiceCalibration)
    other = made.calibration.model_copy(update={"measurand": str(Measurand("vmaf_v0.6.1", "mean", 10))})
    document = made.ensemble.sidecar.model_dump() | {"calibration": other.model_dump()}
    with pytest.raises(ValueError, match="10-bit"):
        Sidecar.model_validate(document)


def test_a_request_of_another_measurand_is_refused():
    """A target in another measurand than the ensemble forecasts is refused before anything is encoded."""
    request = TuneRequest(Path("in.mkv"), "libx264", 93.0, 0.9, measurand=Measurand("vmaf_v0.6.1", "mean", 10))
    with pytest.raises(ConfigError, match="8-bit, not vmaf"):
        calibrated_margin(verified(), request, "medium")


def test_a_load_compares_the_sidecar_with_what_was_judged():
    """A sidecar whose measurand the verdict did not judge is refused at load."""
    folder = registry_dir()
    registry = read_registry(folder)
    row = registry.row("vmaf_forecast_ensemble_v1_mean")
    verdict = admitting_verdict(folder, row)
    verify_row(folder, registry, row, verdict)
    other = verdict.model_copy(update={"measurand": str(Measurand("vmaf_v0.6.1", "mean", 10))})
    with pytest.raises(IntegrityError, match="which its verdict did not judge"):
        verify_row(folder, registry, row, other)


def test_what_names_none_is_written_as_before():
    """Files of the first measurand keep the bytes that released verdicts bind."""
    made = verified()
    assert "measurand" not in made.calibration.model_dump(mode="json")
    assert "measurand" not in made.ensemble.sidecar.model_dump(mode="json")
    assert made.ensemble.sidecar.answers == str(MEAN_VMAF)
