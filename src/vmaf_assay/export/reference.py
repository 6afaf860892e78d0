"""A registry as the reference system's own validator and schema accept it (docs/reference-system.md).

registry.json                             `schema_version` 0, `models`
<row>.onnx, <row>.json                    model and sidecar by row, without digests in their names
<ensemble>_seed_flip_PROMOTE.json         the verdict, with the fields of its schema version 1
registry-of-origin.json                   digests of everything this was made from
"""

from pathlib import Path
from typing import Any

from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.media.files import sha256_bytes, write_bytes_atomic, write_json_atomic
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry.files import read_file, verdict_name
from vmaf_assay.registry.manifest import Row
from vmaf_assay.registry.store import read_registry, verify_row
from vmaf_assay.registry.trust import Trust, check_trust
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.registry.verify import verify_registry

REFERENCE_SCHEMA = 0
"""The one version that the reference system's first schema and its later ones both accept."""

VERDICT_FIELDS = (
    "verdict",
    "gate",
    "corpus",
    "seeds",
    "loso_dir",
    "generated_at_utc",
    "recommendation",
    "adr",
    "parent_adr",
)
"""Fields of verdict schema version 1."""


def export_reference(
    registry: Path, out: Path, ensemble: str | None = None, trust: Trust | None = None
) -> list[str]:
    """Write what a registry has in production as the reference system reads it; the ids of the rows written.

    Rows out of service or scaffolded stay behind: there, a row without a flag is in production.

    Args:
      registry: the registry; everything that is written was verified.
      out: a new folder.
      ensemble: only this one's rows.
      trust: whose signatures to believe.

    Raises:
      ConfigError: the folder exists, or nothing is in production.
      IntegrityError: something does not verify.
    """
    if out.exists():
        raise ConfigError(f"{out} exists", next_step="name a new folder")
    for report in verify_registry(registry, ensemble=ensemble, trust=trust):
        if report.status == "refused":
            raise IntegrityError(f"{report.row_id}: {report.reason}", next_step="see `assay registry verify`")
    content = read_registry(registry)
    rows = [row for row in content.rows if not row.smoke]
    rows = [row for row in rows if ensemble is None or row.id.startswith(f"{ensemble}_")]
    if not rows:
        raise ConfigError(f"{registry} has nothing in production", next_step="see `assay registry list`")
    verdicts: dict[str, Verdict] = {}
    for row in rows:
        onnx, sidecar, verdict = verify_row(registry, content, row)
        if trust is not None and verdict.ensemble not in verdicts:
            check_trust(registry, verdict, trust, remember=False)
        verdicts[verdict.ensemble] = verdict
        write_bytes_atomic(out / f"{row.id}.onnx", onnx)
        write_json_atomic(out / f"{row.id}.json", _sidecar(row, sidecar, verdict))
    for name, verdict in verdicts.items():
        document = verdict.model_dump(mode="json", include=set(VERDICT_FIELDS)) | {"schema_version": 1}
        document["gate"].pop("conditions", None)
        write_json_atomic(out / verdict_name(name), document)
    write_json_atomic(out / "registry-of-origin.json", _origin(registry, verdicts))
    models = [_entry(row) for row in rows]
    write_json_atomic(out / "registry.json", {"schema_version": REFERENCE_SCHEMA, "models": models})
    return [row.id for row in rows]


def _entry(row: Row) -> dict[str, Any]:
    """A row with the fields that its schema knows; a forecast and a mean are full-reference models there."""
    return {
        "id": row.id,
        "kind": "fr",
        "onnx": f"{row.id}.onnx",
        "sha256": row.sha256,
        "opset": row.opset,
        "smoke": row.smoke,
        "notes": f"{row.description}; {row.notes}"[:512],
    }


def _sidecar(row: Row, sidecar: Sidecar, verdict: Verdict) -> dict[str, Any]:
    """A sidecar with the field names that the reference system's trainer writes and its C loader looks for."""
    seed = None if sidecar.role == "mean" else int(row.id.rpartition("_seed")[2])
    outputs = ["mu", "sigma", "members"] if seed is None else ["score"]
    vocabulary = sidecar.encoder_vocab
    gate = verdict.gate
    return {
        "id": row.id,
        "kind": "fr",
        "name": row.id,
        "onnx": f"{row.id}.onnx",
        "sha256": row.sha256,
        "opset": row.opset,
        "onnx_opset": row.opset,
        "seed": seed,
        "ensemble_id": verdict.ensemble,
        "input_names": ["features", "codec"],
        "output_names": outputs,
        "feature_order": sidecar.feature_names,
        # The scaler is inside the graph: these leave what goes in as it is.
        "feature_mean": [0.0] * len(sidecar.feature_names),
        "feature_std": [1.0] * len(sidecar.feature_names),
        "codec_aware": True,
        "codec_block_layout": [*(f"encoder_onehot[{name}]" for name in vocabulary), "preset_norm", "crf_norm"],
        "encoder_vocab": vocabulary,
        "encoder_vocab_version": sidecar.encoder_vocab_version,
        "corpus": {"sha256": sidecar.corpus_digest, "n_rows": verdict.corpus.get("n_rows")},
        "training_recipe": sidecar.recipe,
        "loso_mean_plcc": gate.mean_plcc,
        "gate": {
            "verdict": verdict.verdict,
            "passed": gate.passed,
            "mean_plcc": gate.mean_plcc,
            "mean_plcc_threshold": gate.mean_plcc_threshold,
            "plcc_spread": gate.plcc_spread,
            "plcc_spread_max": gate.plcc_spread_max,
            "per_seed_min_threshold": gate.per_seed_min,
        },
    }


def _origin(registry: Path, verdicts: dict[str, Verdict]) -> dict[str, Any]:
    """What an export was made from, for whoever wants to check more than the reference system's files say."""
    files = {"registry.json": sha256_bytes(read_file(registry, "registry.json"))}
    for name, verdict in verdicts.items():
        numbered = verdict_name(name, verdict.sequence)
        files[numbered] = sha256_bytes(read_file(registry, numbered))
    return {"schema_version": 1, "files": files}
