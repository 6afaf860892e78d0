"""The shipped JSON Schemas are those of the records."""

import json
import runpy
from pathlib import Path

import vmaf_assay

ROOT = Path(__file__).parents[1]


def test_shipped_schemas_are_the_records():
    """Every record's schema is shipped, unchanged; `python scripts/write_schemas.py` writes them."""
    records = runpy.run_path(str(ROOT / "scripts" / "write_schemas.py"))["RECORDS"]
    folder = Path(vmaf_assay.__file__).parent / "schemas"
    assert {path.name for path in folder.glob("*.json")} == {f"{name}.schema.json" for name in records}
    for name, record in records.items():
        shipped = json.loads((folder / f"{name}.schema.json").read_text())
        assert shipped == record.model_json_schema(), name
