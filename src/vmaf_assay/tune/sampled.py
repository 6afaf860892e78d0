"""What an answer says of the sample it rests on."""

from vmaf_assay.media.score import ReferenceInput
from vmaf_assay.promise.choice import Forecaster, Measured
from vmaf_assay.promise.sampling import SampledForecaster
from vmaf_assay.tune.result import SampleFacts
from vmaf_assay.tune.segments import Sample, around


def sample_facts(
    sample: Sample | None,
    forecaster: Forecaster,
    rate_value: float,
    measured: Measured,
    reference: ReferenceInput,
    encoder: str,
) -> SampleFacts | None:
    """The facts of a sample at the rate value chosen; None if every frame was probed."""
    if sample is None or not isinstance(forecaster, SampledForecaster):
        return None
    part = forecaster.sampling_part(measured)[forecaster.at(rate_value)]
    return SampleFacts(
        segments=len(sample.segments),
        units=sample.n_units,
        segments_tried=len(sample.tried) if measured else 0,
        frames=sample.n_frames,
        seconds=float(sample.n_frames / reference.frame_rate),
        warm_up_frames=around(encoder)[0],
        cool_down_frames=around(encoder)[1],
        sampling_part=float(part),
        allowance=forecaster.allowance,
        first_frames=sorted(segment.first for segment in sample.segments),
    )


def sample_reasons(facts: SampleFacts | None) -> list[str]:
    """In words; none if every frame was probed."""
    if facts is None:
        return []
    tried = f", a trial encodes {facts.segments_tried} of them" if facts.segments_tried else ""
    return [
        f"a sample: {facts.segments} of {facts.units} segments were probed, {facts.seconds:.0f} s{tried}; that "
        f"not all was seen is {facts.sampling_part:.2f} points of uncertainty (more --probe-seconds give less)"
    ]
