"""Choose the cheapest encode that meets a VMAF target, with a confidence that can be checked.

`import vmaf_assay as va` costs nothing; the first use of a name loads `vmaf_assay.api`, which says what each is.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmaf_assay.api import (
        AssayError,
        CellRecord,
        CompareResult,
        ConfigError,
        Contender,
        Corpus,
        CorpusError,
        Curve,
        CurvePoint,
        Ffmpeg,
        Forecast,
        GateResult,
        IntegrityError,
        MediaError,
        ModelLoadError,
        Probe,
        Probed,
        Promise,
        PromisedChoice,
        RowReport,
        RunEvidence,
        SampleFacts,
        Scored,
        SegmentPlan,
        ToolError,
        TuneResult,
        Verdict,
        VerifiedEnsemble,
        VideoInfo,
        build_corpus,
        choose_rate,
        compare_encoders,
        find_ffmpeg,
        forecast_encoder,
        gate_run,
        load_corpus,
        load_ensemble,
        load_run,
        probe_source,
        promote_run,
        train_ensemble,
        tune_source,
        validate_run,
        verify_registry,
        write_page,
    )

__version__ = "0.2.0"
"""The one place of the version: pyproject.toml reads it here."""

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
    "__version__",
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Here, not above: `assay --help` imports this package too, and numpy alone costs more than its whole answer.
    from vmaf_assay import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
