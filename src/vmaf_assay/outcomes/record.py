"""One measured result, as the store keeps it: no picture, no path, no title."""

import math
import re
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Literal, get_args

from vmaf_assay.errors import CorpusError
from vmaf_assay.media.files import canonical_json, sha256_bytes
from vmaf_assay.records import Measurand

Kind = Literal["trial", "final", "retry", "compare", "scene"]
"""What was measured: a trial; the final encode; a final encode made again after a miss; an encode of
`compare --measure`; a scene of an encode by scene."""


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """A probe encode of the source."""

    encoder: str
    preset: str
    rate_value: float
    """On the encoder's own scale."""
    vmaf: float
    """Pooled over frames, points."""
    kbps: float
    features: tuple[float, ...]
    """Mean over frames of canonical-6, [6]."""


@dataclass(frozen=True, slots=True)
class Forecasted:
    """The forecast of one source with one encoder and preset, before any trial, and what it was made from."""

    rate_values: tuple[float, ...]
    """Trained rate values, ascending, [R]."""
    mu: tuple[float, ...]
    """Forecast pooled VMAF, points, [R]."""
    sigma: tuple[float, ...]
    """Spread over members, points, [R]."""
    known: tuple[tuple[float, float], ...]
    """Rate value and pooled VMAF, points, of each probe with this encoder and preset."""
    probes: tuple[ProbeFacts, ...]
    width: int
    """Of the picture encoded, px."""
    height: int
    """Of the picture encoded, px."""
    frame_rate: str
    """Frames per second, rational."""
    n_frames: int
    """Frames of the source, or of the scene."""
    sampled: bool
    """Whether segments were probed, not every frame."""

    def digest(self) -> str:
        """Its identity in a store, 32 hex digits."""
        return sha256_bytes(canonical_json(_plain(self)))[:32]


@dataclass(frozen=True, slots=True)
class Delivered:
    """One measured encode, beside what was forecast and promised of it."""

    kind: Kind
    encoder: str
    preset: str
    measurand: str
    """As `records.Measurand` writes it; its last word is the bit depth."""
    plain: bool
    """Of the calibrated kind: no encoder options, filters or other reference."""
    target: float
    """Pooled score asked for, points."""
    confidence: float
    """Probability asked for, in (0, 1)."""
    trials: int
    """Trials that the forecast was corrected by."""
    rate_value: float
    """On the encoder's own scale."""
    forecast: float
    """Forecast there, after those trials, points."""
    bound: float
    """Forecast less margin there, points."""
    promised: bool
    """Whether the target was promised of this encode."""
    measured: float
    """Pooled score, points."""
    whole: bool
    """Whether every frame was measured; a trial of a sampled source is an estimate."""
    kbps: float
    """Measured bitrate of the video."""
    model: str
    """SHA-256 of the fused model that forecast."""
    calibration: str
    """SHA-256 of the calibration behind the margin."""
    tools: tuple[tuple[str, str], ...]
    """Versions of ffmpeg, libvmaf and the encoder, by name."""
    forecasted: Forecasted
    span: tuple[int, int] = (0, 0)
    """Of a scene: first frame and number of frames; (0, 0) for a whole source."""

    @property
    def kept(self) -> bool:
        """Whether the measured score meets the target."""
        return self.measured >= self.target


@dataclass(frozen=True, slots=True)
class Outcome:
    """A measured encode in a store."""

    source: str
    """Keyed digest of the source's bytes, 32 hex digits."""
    host: str
    """Keyed digest of the machine's name, 16 hex digits."""
    day: str
    """When it was measured, ISO 8601, UTC, to the day."""
    delivered: Delivered

    @property
    def id(self) -> str:
        """Its identity, 32 hex digits: the same measurement, answered again or merged twice, is one outcome."""
        facts = _plain(self.delivered) | {"source": self.source}
        facts["forecasted"] = self.delivered.forecasted.digest()
        return sha256_bytes(canonical_json(facts))[:32]

    def as_json(self) -> dict[str, Any]:
        """Everything that is kept of it, for `show` and `export`."""
        facts = _plain(self.delivered)
        head = {"id": self.id, "source": self.source, "host": self.host, "day": self.day}
        return head | facts | {"kept": self.delivered.kept, "tools": dict(self.delivered.tools)}


def check(outcome: Outcome) -> Outcome:
    """The outcome itself; raises CorpusError if a value is out of its range, as in a store made by hand."""
    one, of = outcome.delivered, outcome.delivered.forecasted
    numbers = (one.rate_value, one.forecast, one.bound, one.kbps, *of.rate_values, *of.mu, *of.sigma)
    metric = None
    try:
        metric = Measurand.parse(one.measurand).metric
        date.fromisoformat(outcome.day)
    except ValueError as error:
        raise _bad(outcome, str(error)) from error
    if not all(map(math.isfinite, numbers)) or one.kbps < 0:
        raise _bad(outcome, "a number is not finite")
    if not (metric.floor <= one.measured <= metric.ceiling and metric.floor < one.target < metric.ceiling):
        raise _bad(outcome, f"a score is not of {metric.model}")
    if not 0 < one.confidence < 1 or one.kind not in get_args(Kind):
        raise _bad(outcome, f"kind {one.kind!r} or confidence {one.confidence!r} is unknown")
    if not (len(of.rate_values) == len(of.mu) == len(of.sigma) > 1):
        raise _bad(outcome, "its forecast is no curve")
    if list(of.rate_values) != sorted(set(of.rate_values)) or min(of.sigma) < 0:
        raise _bad(outcome, "its forecast is out of order")
    if not re.fullmatch(r"[0-9a-f]{32}", outcome.source) or not re.fullmatch(r"[0-9a-f]{16}", outcome.host):
        raise _bad(outcome, "source or host is not a keyed digest")
    return outcome


def _bad(outcome: Outcome, why: str) -> CorpusError:
    return CorpusError(
        f"an outcome of {outcome.day[:10]!r} is invalid: {why}", next_step="remove it from its store"
    )


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any record here
    """Its fields as JSON has them."""
    return {name: _listed(value) for name, value in asdict(record).items()}


def _listed(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, tuple | list):
        return [_listed(one) for one in value]
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return value


def forecasted_json(of: Forecasted) -> bytes:
    """A forecast as the store keeps it."""
    return canonical_json(_plain(of))


def forecasted_of(facts: dict[str, Any]) -> Forecasted:
    """The forecast that `forecasted_json` wrote. Raises CorpusError if it is not one."""
    try:
        probes = tuple(
            ProbeFacts(**(one | {"features": tuple(map(float, one["features"]))})) for one in facts["probes"]
        )
        lists = {name: tuple(map(float, facts[name])) for name in ("rate_values", "mu", "sigma")}
        known = tuple((float(rate), float(vmaf)) for rate, vmaf in facts["known"])
        return Forecasted(**(facts | lists | {"known": known, "probes": probes}))
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"a forecast in a store is invalid: {error}", next_step="remove that store") from error


NUMBERED = tuple(one.name for one in fields(Delivered) if one.name not in {"forecasted", "tools", "span"})
"""Fields of `Delivered` that the store keeps in a column each."""
