"""Settings common to all requests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from vmaf_assay.api.paths import PathLike
from vmaf_assay.media.encoders.driven import Drive
from vmaf_assay.media.ffmpeg import Ffmpeg, find_ffmpeg
from vmaf_assay.media.files import sha256_file
from vmaf_assay.records import Measurand, OnStep
from vmaf_assay.registry.store import VerifiedEnsemble
from vmaf_assay.tune.cache import Cache
from vmaf_assay.tune.pictures import PictureRequest
from vmaf_assay.tune.progress import JobClock, OnLeft
from vmaf_assay.tune.request import ProbesKind, ReferenceKind

if TYPE_CHECKING:
    from vmaf_assay.tune.delivered import OnMeasured

OnNote = Callable[[str], None]
"""Called with a line that the user should read before more time is spent."""


class Settings(TypedDict, total=False):
    """Keywords of every function that encodes or scores; all are optional."""

    cache_dir: PathLike | None
    """Folder of results of earlier runs; None, the default, uses no cache."""
    outcomes_dir: PathLike | None
    """Folder where measured results are recorded; None, the default, records nothing."""
    ensemble: VerifiedEnsemble | None
    """From `load_ensemble`; by default the shipped forecast."""
    ffmpeg: Ffmpeg | None
    """By default the one that `find_ffmpeg` finds."""
    on_step: OnStep | None
    """Called with what is being done, units done, units in all."""
    on_left: OnLeft | None
    """Called with the seconds left for the whole job."""
    on_note: OnNote | None
    """Called with a line that should be read before more time is spent."""


SETTINGS = frozenset(Settings.__annotations__)
"""Names of the settings."""


class TuneAsked(Settings, total=False):
    """Keywords of `tune_source`: the fields of `TuneRequest`, which has their defaults, and the settings."""

    target_vmaf: float
    confidence: float
    preset: str | None
    trials: int
    output: PathLike | None
    verify: bool
    retry: int
    force: bool
    encoder_args: str
    unsafe_args: bool
    drive: Drive
    audio_codec: str
    stream: int | None
    filters: str
    reference: ReferenceKind
    max_kbps: float | None
    max_bytes: float | None
    max_ratio: float | None
    target_kbps: float | None
    target_bytes: float | None
    best_within: bool
    two_pass: bool
    probe_seconds: float
    probes: ProbesKind | None
    pictures: PictureRequest
    measurand: Measurand
    depth_of_source: bool


@dataclass(frozen=True, slots=True)
class TitleFarm:
    """Where many titles are tuned: one of `workers` and `scheduler`."""

    workers: int | None = None
    """Tune so many at a time, in processes of this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers tune; they see the same folders."""
    registry: PathLike | None = None
    """Registry that workers load the forecast from; by default as `load_ensemble`."""
    trust_policy: PathLike | None = None
    """Whose signatures they accept, likewise."""


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of one call, with defaults filled in."""

    settings: Settings
    """As given."""

    @property
    def ffmpeg(self) -> Ffmpeg:
        """The given one, else the one found."""
        return self.settings.get("ffmpeg") or find_ffmpeg()

    def ensemble(self, measurand: Measurand) -> VerifiedEnsemble:
        """The given one, else the shipped forecast of a measurand."""
        from vmaf_assay.api.ensembles import load_forecast  # which needs none of this

        return self.settings.get("ensemble") or load_forecast(measurand)

    @property
    def cache(self) -> Cache | None:
        """Cache of earlier results, if a folder was given."""
        folder = self.settings.get("cache_dir")
        return None if folder is None else Cache(Path(folder))

    @contextmanager
    def recording(self, cache: Cache | None) -> "Iterator[OnMeasured | None]":
        """Records what is measured, if a folder was given; it is opened at once, so that a wrong one ends here.

        Args:
          cache: may know the source's digest.

        Raises:
          ConfigError: others can change the folder.
          CorpusError: its file is no store.
        """
        folder = self.settings.get("outcomes_dir")
        if folder is None:
            yield None
            return
        from vmaf_assay.outcomes.recorder import Recorder  # SQLite, which few calls need
        from vmaf_assay.outcomes.store import OutcomeStore

        with OutcomeStore(Path(folder)) as store:
            yield Recorder(store, cache.digest if cache else sha256_file, self.on_note).record

    @property
    def on_note(self) -> OnNote | None:
        """As given."""
        return self.settings.get("on_note")

    def clock(self, *, page: bool = False) -> JobClock:
        """Passes progress on, with the time left for the whole job."""
        return JobClock(self.settings.get("on_step"), self.settings.get("on_left"), page=page)
