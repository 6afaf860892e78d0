"""An export for the reference system: what its schema and validator ask of a registry, sidecars and verdict."""

import json

import jsonschema
import onnx
import pytest

from tests.crafted import FORECAST, FR
from vmaf_assay.errors import ConfigError, IntegrityError
from vmaf_assay.export.reference import export_reference
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.registry.store import read_registry

ENTRY = {
    "type": "object",
    "required": ["id", "kind", "onnx", "sha256"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$", "maxLength": 64},
        "kind": {"enum": ["fr", "nr"]},
        "onnx": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_./-]*\\.onnx$", "maxLength": 256},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "opset": {"type": "integer", "minimum": 7, "maximum": 21},
        "notes": {"type": "string", "maxLength": 512},
        "smoke": {"type": "boolean"},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["schema_version", "models"],
    "additionalProperties": False,
    "properties": {"schema_version": {"const": 0}, "models": {"type": "array", "items": ENTRY}},
}
"""What the reference system's `registry.schema.json` asks, in our words; its later versions allow more."""


def test_schema_and_files_are_what_its_validator_asks(promoted, tmp_path):
    """The registry fits the schema, every digest fits its file, and a sidecar lies beside every model."""
    rows = export_reference(promoted, tmp_path / "out")
    registry = json.loads((tmp_path / "out" / "registry.json").read_bytes())
    jsonschema.Draft202012Validator(SCHEMA).validate(registry)
    assert [model["id"] for model in registry["models"]] == rows
    assert len(rows) == 12
    for model in registry["models"]:
        data = (tmp_path / "out" / model["onnx"]).read_bytes()
        assert sha256_bytes(data) == model["sha256"]
        sidecar = json.loads((tmp_path / "out" / model["onnx"]).with_suffix(".json").read_bytes())
        graph = onnx.ModelProto.FromString(data).graph
        assert sidecar["input_names"] == [one.name for one in graph.input]
        assert sidecar["output_names"] == [one.name for one in graph.output]
        assert len(sidecar["codec_block_layout"]) == graph.input[1].type.tensor_type.shape.dim[1].dim_value


def test_the_verdict_has_the_fields_of_its_schema_one(promoted, tmp_path):
    """Fields of the reference system's verdict, and of its gate, and no others."""
    export_reference(promoted, tmp_path / "out", FR)
    verdict = json.loads((tmp_path / "out" / f"{FR}_seed_flip_PROMOTE.json").read_bytes())
    assert set(verdict) == {
        "schema_version",
        "verdict",
        "gate",
        "corpus",
        "seeds",
        "loso_dir",
        "generated_at_utc",
        "recommendation",
        "adr",
        "parent_adr",
    }
    assert set(verdict["gate"]) == {
        "passed",
        "mean_plcc",
        "mean_plcc_threshold",
        "mean_plcc_pass",
        "plcc_spread",
        "plcc_spread_max",
        "plcc_spread_pass",
        "per_seed_plccs",
        "per_seed_min",
        "per_seed_pass",
        "failing_seeds",
    }
    assert not list((tmp_path / "out").glob(f"{FORECAST}*"))


def test_what_does_not_verify_is_not_exported(registry, tmp_path):
    """A flipped byte of a model, or a folder that exists: nothing is written."""
    with pytest.raises(ConfigError, match="exists"):
        export_reference(registry, tmp_path)
    path = registry / read_registry(registry).rows[0].onnx
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="does not match its digest"):
        export_reference(registry, tmp_path / "out")
    assert not (tmp_path / "out").exists()
