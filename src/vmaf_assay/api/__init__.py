"""The Python interface, behind `import vmaf_assay as va`.

Every function takes what it needs and returns a frozen record; nothing prints, nothing is remembered between
calls. Progress goes to the callback given. Errors are those of `vmaf_assay.errors`; a negative answer (HOLD, a
target out of reach) is a value.

`vmaf_assay/__init__.py` loads this module when the first of its names is asked for, so that importing the package
costs nothing. JAX is loaded by `train_ensemble` alone.
"""

from vmaf_assay.api.models import (
    build_corpus,
    gate_run,
    promote_run,
    train_ensemble,
    validate_run,
    verify_registry,
)
from vmaf_assay.api.tuning import (
    choose_rate,
    compare_encoders,
    forecast_encoder,
    load_ensemble,
    probe_source,
    tune_source,
    write_page,
)
from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.errors import (
    AssayError,
    ConfigError,
    CorpusError,
    IntegrityError,
    MediaError,
    ModelLoadError,
    ToolError,
)
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.promise.choice import Curve
from vmaf_assay.promise.policy import GateResult
from vmaf_assay.promise.promise import Promise, PromisedChoice
from vmaf_assay.records import CellRecord, Scored, VideoInfo
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import RowReport
from vmaf_assay.training.evidence import RunEvidence, load_run
from vmaf_assay.tune.compare import CompareResult, Contender
from vmaf_assay.tune.forecast import Forecast, Probe
from vmaf_assay.tune.probing import Probed
from vmaf_assay.tune.result import CurvePoint, SampleFacts, TuneResult
from vmaf_assay.tune.segments import SegmentPlan

__all__ = [
    "AssayError",
    "CellRecord",
    "CompareResult",
    "ConfigError",
    "Contender",
    "Corpus",
    "CorpusError",
    "Curve",
    "CurvePoint",
    "Ffmpeg",
    "Forecast",
    "GateResult",
    "IntegrityError",
    "MediaError",
    "ModelLoadError",
    "Probe",
    "Probed",
    "Promise",
    "PromisedChoice",
    "RowReport",
    "RunEvidence",
    "SampleFacts",
    "Scored",
    "SegmentPlan",
    "ToolError",
    "TuneResult",
    "Verdict",
    "VerifiedEnsemble",
    "VideoInfo",
    "build_corpus",
    "choose_rate",
    "compare_encoders",
    "find_ffmpeg",
    "forecast_encoder",
    "gate_run",
    "load_corpus",
    "load_ensemble",
    "load_run",
    "probe_source",
    "promote_run",
    "train_ensemble",
    "tune_source",
    "validate_run",
    "verify_registry",
    "write_page",
]
