"""What a tune or comparison measured, as the facts that `outcomes` records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vmaf_assay.outcomes.record import Delivered, Forecasted, Kind, ProbeFacts

if TYPE_CHECKING:
    from vmaf_assay.promise.choice import Forecaster, Measured
    from vmaf_assay.registry.store import VerifiedEnsemble
    from vmaf_assay.tune.forecast import Forecast
    from vmaf_assay.tune.probing import SourceProbes, Tried
    from vmaf_assay.tune.request import TuneRequest

OnMeasured = Callable[[Path, Delivered], None]
"""Called with the source and the facts of each encode that was measured, at once."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports what is measured of one source with one encoder and preset."""

    on_measured: OnMeasured
    verified: "VerifiedEnsemble"
    request: "TuneRequest"
    """What is asked, with the encoder's own name."""
    predicted: "Forecast"
    """The forecast, before any trial."""
    title: "SourceProbes"
    forecaster: "Forecaster"
    scale: float
    """Of the margin."""

    def trials(self, tried: Mapping[float, "Tried"]) -> None:
        """Report trials, in the order in which they were made."""
        before: Measured = {}
        for rate_value, trial in tried.items():
            whole = self.title.sample is None
            self.at("trial", rate_value, before, measured=trial.vmaf, kbps=trial.kbps, promised=False, whole=whole)
            before[rate_value] = trial.vmaf

    def at(
        self,
        kind: Kind,
        rate_value: float,
        trials: "Measured",
        *,
        measured: float,
        kbps: float,
        promised: bool,
        whole: bool = True,
        span: tuple[int, int] = (0, 0),
    ) -> None:
        """Report one measured encode.

        Args:
          kind: what it is.
          rate_value: on the encoder's own scale.
          trials: what its forecast was corrected by.
          measured: pooled score, points.
          kbps: bitrate of its video.
          promised: whether the target was promised of it.
          whole: whether every frame was measured.
          span: of a scene, first frame and number of frames.
        """
        at = self.forecaster.at(rate_value)
        request, sidecar = self.request, self.verified.ensemble.sidecar
        self.on_measured(
            request.source,
            Delivered(
                kind=kind,
                encoder=self.predicted.curve.encoder,
                preset=self.predicted.curve.preset,
                measurand=str(request.measurand),
                plain=not (request.encoder_args or request.filters or request.reference != "filtered"),
                target=request.target_vmaf,
                confidence=request.confidence,
                trials=len(trials),
                rate_value=rate_value,
                forecast=float(self.forecaster.corrected(trials)[at]),
                bound=float(self.forecaster.lower(trials, self.scale)[at]),
                promised=promised,
                measured=measured,
                whole=whole,
                kbps=kbps,
                model=sidecar.onnx_sha256,
                calibration=self.verified.verdict.calibration_sha256,
                tools=tuple(sorted(self.predicted.tools.items())),
                forecasted=forecasted(self.title, self.predicted),
                span=span,
            ),
        )


def forecasted(title: "SourceProbes", predicted: "Forecast") -> Forecasted:
    """A forecast and its probes, as they are recorded."""
    curve, reference = predicted.curve, title.measurer.reference
    assert reference.size is not None  # `open_source` sets it
    return Forecasted(
        rate_values=tuple(curve.rate_values.tolist()),
        mu=tuple(round(value, 4) for value in curve.mu.tolist()),
        sigma=tuple(round(value, 4) for value in curve.sigma.tolist()),
        known=tuple((float(rate), round(vmaf, 4)) for rate, vmaf in sorted(curve.known.items())),
        probes=tuple(
            ProbeFacts(
                spec.encoder,
                spec.preset,
                spec.rate_value,
                round(scored.pooled_vmaf, 4),
                round(scored.kbps, 3),
                tuple(round(value, 6) for value in scored.pooled_features.tolist()),
            )
            for spec, scored in title.probes
        ),
        width=reference.size[0],
        height=reference.size[1],
        frame_rate=f"{reference.frame_rate.numerator}/{reference.frame_rate.denominator}",
        n_frames=reference.n_frames,
        sampled=title.sample is not None,
    )
