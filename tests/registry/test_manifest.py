"""Rows: their names stay in the folder, and every field is bound."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vmaf_assay.registry.manifest import FileRef, Registry, Row, ensemble_of

ROW = Row(
    id="m_seed0",
    kind="fr",
    onnx="m.onnx",
    sha256="0" * 64,
    opset=17,
    smoke=False,
    license="MIT",
    description="d",
    notes="n",
    sidecar=FileRef(file="m.json", sha256="1" * 64),
    verdict=FileRef(file="v.json", sha256="2" * 64),
)
OTHER = {
    "id": "m_seed1",
    "kind": "ensemble",
    "onnx": "x.onnx",
    "sha256": "3" * 64,
    "opset": 18,
    "license": "BSD",
    "description": "d ",
    "notes": "",
    "sidecar": FileRef(file="m.json", sha256="4" * 64),
    "confidence_eligible": True,
}


@pytest.mark.parametrize("field", OTHER)
def test_every_field_is_bound(field):
    """A change of any field, a space in the description included, changes what a verdict binds."""
    assert ROW.model_copy(update={field: OTHER[field]}).binding() != ROW.binding()


def test_the_binding_covers_every_field_but_two():
    """`smoke` is bound as false and `verdict` cannot bind itself; a new field must be added to the test above."""
    assert set(Row.model_fields) - set(OTHER) == {"smoke", "verdict"}
    assert ROW.model_copy(update={"smoke": True, "verdict": None}).binding() == ROW.binding()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../m.onnx", "a/b.onnx", "..", ".", "", ".hidden", "a\\b.onnx", "a\0b", "x" * 201]
)
def test_names_stay_in_the_folder(name):
    """Absolute paths, escapes, folders, hidden and overlong names are refused by the schema."""
    with pytest.raises(ValidationError):
        FileRef(file=name, sha256="0" * 64)


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_digests_are_sixty_four_lower_hex_digits(digest):
    """Nothing that could equal no digest is taken for one."""
    with pytest.raises(ValidationError):
        FileRef(file="m", sha256=digest)


def test_nothing_is_production_by_omission():
    """A row without `smoke` is refused, not taken for production."""
    content = ROW.model_dump(mode="json")
    del content["smoke"]
    with pytest.raises(ValidationError, match="smoke"):
        Row.model_validate(content)


@given(st.text(max_size=256), st.text(max_size=512))
def test_text_survives(description, notes):
    """Any description comes back from the registry's bytes as it went in; they are those of Python's writer."""
    registry = Registry(rows=[ROW.model_copy(update={"description": description, "notes": notes})])
    assert Registry.model_validate_json(registry.to_bytes(), strict=False) == registry
    written = json.dumps(registry.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
    assert registry.to_bytes() == written


@pytest.mark.parametrize(("row_id", "ensemble"), [("a_b_seed12", "a_b"), ("a_b_mean", "a_b"), ("a_b", "a_b")])
def test_ensembles_of_rows(row_id, ensemble):
    """A row belongs to the ensemble its name begins with."""
    assert ensemble_of(row_id) == ensemble
