"""The files of a training run, as records: `run.json`, `loso_seed{N}.json`, `calibration.json`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vmaf_assay.model.sidecar import Calibration, Task

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class CorpusFacts(_Frozen):
    """The corpus a run was trained on."""

    digest: str
    """SHA-256 of its content."""
    n_rows: int
    """Training rows made of it."""
    n_cells: int
    n_groups: int
    """Groups among the rows."""


class CodeFacts(_Frozen):
    """The code that trained a run."""

    version: str
    """Package version."""
    commit: str | None = None
    """Git commit, if run from a checkout."""
    dirty: bool | None = None
    """True if that checkout had uncommitted changes."""


class RunFile(_Frozen):
    """`run.json`: what was trained, on what, with what, and the digest of every other file of the run."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    model_id: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,48}$")]
    """The ensemble's id, without `_seedN` or `_mean`."""
    task: Task
    """`fr` or `forecast`."""
    seeds: list[Annotated[int, Field(ge=0, le=2**31 - 1)]]
    """Seeds, in order."""
    corpus: CorpusFacts
    recipe: dict[str, Any]
    """Training recipe."""
    code: CodeFacts
    environment: dict[str, str]
    """Python, platform and library versions."""
    files: dict[str, str]
    """SHA-256 of every file of the run but this one, by relative path."""
    generated_at_utc: str
    """ISO 8601, UTC."""
    dry_run: bool = False
    """True if the run only tested the machinery; it is not evidence."""
    protocol: str = "leave-one-group-out"
    """How groups were left out: one at a time, or `K grouped folds`."""
    notes: dict[str, Any] = Field(default_factory=dict)
    """What else was measured, such as the bitrate forecast's error."""


class FoldScores(_Frozen):
    """One fold of one seed."""

    held_out: str
    """The group left out."""
    plcc: float
    """Pearson correlation on its rows."""
    srocc: float
    """Spearman correlation on its rows."""
    rmse: float
    """Root mean square error on its rows, points."""
    n_train: int
    """Training rows."""
    n_val: int
    """Held-out rows."""
    train_groups: list[str]
    """Groups whose rows were trained on."""


class LosoFile(_Frozen):
    """`loso_seed{N}.json`: scores of one seed, for readers; the gate recomputes them."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    seed: int
    """N."""
    corpus: dict[str, Any]
    """`digest` and `n_rows`."""
    n_folds: int
    """Groups left out, each once; `protocol` of the run says whether alone."""
    folds: list[FoldScores]
    """By group."""
    mean_plcc: float
    """Mean over folds."""
    std_plcc: float
    """Standard deviation over folds, ddof 0."""
    min_plcc: float
    """Lowest fold."""
    max_plcc: float
    """Highest fold."""
    mean_srocc: float
    """Mean over folds."""
    mean_rmse: float
    """Mean over folds, points."""
    epochs: int
    """Passes."""
    batch_size: int
    """Rows a step."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    """As the recipe's optimizer means it."""
    num_codecs: int
    """Columns of the codec block (14 for vocabulary 2: twelve slots and two norms)."""
    encoder_vocab_version: int
    """Of the codec block."""
    wall_time_s: float
    """Wall seconds of the whole stacked program, which trains all seeds at once."""


class CalibrationFile(_Frozen):
    """`calibration.json`, with its schema version."""

    schema_version: Literal[1] = 1
    """Major version of this schema."""
    calibration: Calibration
    """The one or the other."""
