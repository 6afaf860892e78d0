"""The Python interface, behind `import vmaf_assay as va`.

Every function takes what it needs and returns a frozen record. Nothing prints, and nothing is kept between calls.
Progress goes to the given callback. Errors are those of `vmaf_assay.errors`; a negative answer (HOLD, a target out
of reach) is a value.

`vmaf_assay/__init__.py` loads this module on the first use of a name, so that importing the package is cheap. Only
`train_ensemble` loads JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmaf_assay.admission.audit import Audit
    from vmaf_assay.admission.promotion import Who
    from vmaf_assay.api.corpora import BuiltCorpus, CorpusRequest, build_corpus, build_request, merge_corpora
    from vmaf_assay.api.ensembles import load_ensemble, load_forecast, verify_registry
    from vmaf_assay.api.exports import export_mlflow, export_to_reference
    from vmaf_assay.api.machine import CalibratedBuild, calibrate_build, examine
    from vmaf_assay.api.models import gate_run, promote_run, train_ensemble, validate_run, write_run
    from vmaf_assay.api.pages import write_page
    from vmaf_assay.api.registries import (
        AdmittedRow,
        SignedVerdict,
        acting,
        attest_ensemble,
        audit_ensemble,
        list_rows,
        make_key,
        read_key,
        recalibrate_ensemble,
        registry_history,
        retire_ensemble,
        revalidate_ensemble,
        roll_back,
        show_row,
        sign_ensemble,
    )
    from vmaf_assay.api.scenes import tune_scene_request, tune_scenes
    from vmaf_assay.api.scoring import MadeBy, predict_pair, predict_table, score_files
    from vmaf_assay.api.settings import Settings, TitleFarm
    from vmaf_assay.api.tuning import (
        choose_rate,
        compare_encoders,
        compare_request,
        forecast_encoder,
        probe_source,
        tune_request,
        tune_source,
        tune_sources,
    )
    from vmaf_assay.api.watching import watch_folder
    from vmaf_assay.corpus.build import BuildProgress
    from vmaf_assay.corpus.merge import MergedCorpus
    from vmaf_assay.corpus.store import Corpus, load_corpus
    from vmaf_assay.errors import (
        AssayError,
        ConfigError,
        CorpusError,
        IntegrityError,
        MediaError,
        ModelLoadError,
        SourcesRefusedError,
        ToolError,
    )
    from vmaf_assay.export.mlflow import Exported
    from vmaf_assay.media.encoders.driven import Drive, read_drive
    from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
    from vmaf_assay.outcomes.builds import EncoderCheck
    from vmaf_assay.promise.choice import Curve
    from vmaf_assay.promise.policy import GateResult
    from vmaf_assay.promise.promise import Promise, PromisedChoice
    from vmaf_assay.records import CellRecord, Scored, VideoInfo
    from vmaf_assay.registry.entries import Entry
    from vmaf_assay.registry.signing import PublicKey
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.registry.verdict import Verdict
    from vmaf_assay.registry.verify import RowReport
    from vmaf_assay.scenes.request import SceneRequest
    from vmaf_assay.scenes.result import SceneResult, SceneRow
    from vmaf_assay.training.evidence import RunEvidence, load_run
    from vmaf_assay.tune.batch import Batch, ItemResult
    from vmaf_assay.tune.compare_request import CompareRequest
    from vmaf_assay.tune.contenders import CompareResult, Contender
    from vmaf_assay.tune.forecast import Forecast, Probe
    from vmaf_assay.tune.pairs import PairRequest, PairScore
    from vmaf_assay.tune.pictures import PictureFacts, PictureRequest
    from vmaf_assay.tune.predict import Scores
    from vmaf_assay.tune.probing import Probed
    from vmaf_assay.tune.request import TuneRequest
    from vmaf_assay.tune.result import CurvePoint, SampleFacts, TuneResult
    from vmaf_assay.tune.segments import SegmentPlan

_MODULES = {
    "vmaf_assay.export.mlflow": ["Exported"],
    "vmaf_assay.api.registries": [
        "AdmittedRow",
        "SignedVerdict",
        "acting",
        "attest_ensemble",
        "audit_ensemble",
        "list_rows",
        "make_key",
        "read_key",
        "recalibrate_ensemble",
        "registry_history",
        "retire_ensemble",
        "revalidate_ensemble",
        "roll_back",
        "show_row",
        "sign_ensemble",
    ],
    "vmaf_assay.api.machine": ["CalibratedBuild", "calibrate_build", "examine"],
    "vmaf_assay.outcomes.builds": ["EncoderCheck"],
    "vmaf_assay.api.exports": ["export_mlflow", "export_to_reference"],
    "vmaf_assay.admission.audit": ["Audit"],
    "vmaf_assay.admission.promotion": ["Who"],
    "vmaf_assay.registry.entries": ["Entry"],
    "vmaf_assay.registry.signing": ["PublicKey"],
    "vmaf_assay.api.corpora": ["BuiltCorpus", "CorpusRequest", "build_corpus", "build_request", "merge_corpora"],
    "vmaf_assay.api.ensembles": ["load_ensemble", "load_forecast", "verify_registry"],
    "vmaf_assay.api.models": ["gate_run", "promote_run", "train_ensemble", "validate_run", "write_run"],
    "vmaf_assay.api.pages": ["write_page"],
    "vmaf_assay.api.scenes": ["tune_scene_request", "tune_scenes"],
    "vmaf_assay.api.scoring": ["MadeBy", "predict_pair", "predict_table", "score_files"],
    "vmaf_assay.api.settings": ["Settings", "TitleFarm"],
    "vmaf_assay.api.tuning": [
        "choose_rate",
        "compare_encoders",
        "compare_request",
        "forecast_encoder",
        "probe_source",
        "tune_request",
        "tune_source",
        "tune_sources",
    ],
    "vmaf_assay.api.watching": ["watch_folder"],
    "vmaf_assay.corpus.build": ["BuildProgress"],
    "vmaf_assay.corpus.merge": ["MergedCorpus"],
    "vmaf_assay.corpus.store": ["Corpus", "load_corpus"],
    "vmaf_assay.errors": [
        "AssayError",
        "ConfigError",
        "CorpusError",
        "IntegrityError",
        "MediaError",
        "ModelLoadError",
        "SourcesRefusedError",
        "ToolError",
    ],
    "vmaf_assay.media.encoders.driven": ["Drive", "read_drive"],
    "vmaf_assay.media.ffmpeg": ["Ffmpeg", "find_ffmpeg"],
    "vmaf_assay.promise.choice": ["Curve"],
    "vmaf_assay.promise.policy": ["GateResult"],
    "vmaf_assay.promise.promise": ["Promise", "PromisedChoice"],
    "vmaf_assay.records": ["CellRecord", "Scored", "VideoInfo"],
    "vmaf_assay.registry.store": ["VerifiedEnsemble"],
    "vmaf_assay.registry.verdict": ["Verdict"],
    "vmaf_assay.registry.verify": ["RowReport"],
    "vmaf_assay.scenes.request": ["SceneRequest"],
    "vmaf_assay.scenes.result": ["SceneResult", "SceneRow"],
    "vmaf_assay.training.evidence": ["RunEvidence", "load_run"],
    "vmaf_assay.tune.batch": ["Batch", "ItemResult"],
    "vmaf_assay.tune.compare_request": ["CompareRequest"],
    "vmaf_assay.tune.contenders": ["CompareResult", "Contender"],
    "vmaf_assay.tune.forecast": ["Forecast", "Probe"],
    "vmaf_assay.tune.pairs": ["PairRequest", "PairScore"],
    "vmaf_assay.tune.pictures": ["PictureFacts", "PictureRequest"],
    "vmaf_assay.tune.predict": ["Scores"],
    "vmaf_assay.tune.probing": ["Probed"],
    "vmaf_assay.tune.request": ["TuneRequest"],
    "vmaf_assay.tune.result": ["CurvePoint", "SampleFacts", "TuneResult"],
    "vmaf_assay.tune.segments": ["SegmentPlan"],
}
"""Names by module, so that tuning does not wait for training code to load."""
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AdmittedRow",
    "AssayError",
    "Audit",
    "Batch",
    "BuildProgress",
    "BuiltCorpus",
    "CalibratedBuild",
    "CellRecord",
    "CompareRequest",
    "CompareResult",
    "ConfigError",
    "Contender",
    "Corpus",
    "CorpusError",
    "CorpusRequest",
    "Curve",
    "CurvePoint",
    "Drive",
    "EncoderCheck",
    "Entry",
    "Exported",
    "Ffmpeg",
    "Forecast",
    "GateResult",
    "IntegrityError",
    "ItemResult",
    "MadeBy",
    "MediaError",
    "MergedCorpus",
    "ModelLoadError",
    "PairRequest",
    "PairScore",
    "PictureFacts",
    "PictureRequest",
    "Probe",
    "Probed",
    "Promise",
    "PromisedChoice",
    "PublicKey",
    "RowReport",
    "RunEvidence",
    "SampleFacts",
    "SceneRequest",
    "SceneResult",
    "SceneRow",
    "Scored",
    "Scores",
    "SegmentPlan",
    "Settings",
    "SignedVerdict",
    "SourcesRefusedError",
    "TitleFarm",
    "ToolError",
    "TuneRequest",
    "TuneResult",
    "Verdict",
    "VerifiedEnsemble",
    "VideoInfo",
    "Who",
    "acting",
    "attest_ensemble",
    "audit_ensemble",
    "build_corpus",
    "build_request",
    "calibrate_build",
    "choose_rate",
    "compare_encoders",
    "compare_request",
    "examine",
    "export_mlflow",
    "export_to_reference",
    "find_ffmpeg",
    "forecast_encoder",
    "gate_run",
    "list_rows",
    "load_corpus",
    "load_ensemble",
    "load_forecast",
    "load_run",
    "make_key",
    "merge_corpora",
    "predict_pair",
    "predict_table",
    "probe_source",
    "promote_run",
    "read_drive",
    "read_key",
    "recalibrate_ensemble",
    "registry_history",
    "retire_ensemble",
    "revalidate_ensemble",
    "roll_back",
    "score_files",
    "show_row",
    "sign_ensemble",
    "train_ensemble",
    "tune_request",
    "tune_scene_request",
    "tune_scenes",
    "tune_source",
    "tune_sources",
    "validate_run",
    "verify_registry",
    "watch_folder",
    "write_page",
    "write_run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
