"""Outcomes that no encoder made."""

from dataclasses import replace

from vmaf_assay.outcomes.record import Delivered, Forecasted, Outcome, ProbeFacts

FORECASTED = Forecasted(
    rate_values=(14.0, 22.0, 30.0, 38.0),
    mu=(98.0, 95.0, 88.0, 75.0),
    sigma=(0.1, 0.2, 0.3, 0.5),
    known=((30.0, 88.1),),
    probes=(ProbeFacts("libx264", "medium", 30.0, 88.1, 700.0, (0.9, 0.5, 0.8, 0.9, 0.95, 4.0)),),
    width=640,
    height=360,
    frame_rate="25/1",
    n_frames=72,
    sampled=False,
)
DELIVERED = Delivered(
    kind="final",
    encoder="libx264",
    preset="medium",
    measurand="vmaf_v0.6.1 mean 8-bit",
    plain=True,
    target=93.0,
    confidence=0.95,
    trials=1,
    rate_value=24.5,
    forecast=93.6,
    bound=93.1,
    promised=True,
    measured=93.4,
    whole=True,
    kbps=1500.0,
    model="a" * 64,
    calibration="c" * 64,
    tools=(("ffmpeg", "9.0"), ("libvmaf", "3.1"), ("libx264", "165")),
    forecasted=FORECASTED,
)


def outcome(number: int, *, host: int = 0, day: str = "2026-11-30", **changes) -> Outcome:
    """The outcome of source `number`; `changes` are fields of `Delivered`."""
    return Outcome(f"{number:032x}", f"{host:016x}", day, replace(DELIVERED, **changes))
