"""Write tables of docs/json-output.md from the records, and the JSON Schemas of `--json` from the page.

Between `<!-- fields of NAME -->` and `<!-- end of fields -->` the page's tables hold the record's fields and
their docstrings. A field that is not on the page is not in the schema, and a test fails on output that holds it.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

from vmaf_assay.media.files import canonical_json, sha256_bytes, write_bytes_atomic, write_json_atomic
from vmaf_assay.promise.promise import NoPromise, Promise
from vmaf_assay.scenes.result import SceneResult, SceneRow
from vmaf_assay.tune.contenders import CompareResult, Contender, Kept, Refused
from vmaf_assay.tune.equal import MeasuredPoint
from vmaf_assay.tune.pairs import PairScore
from vmaf_assay.tune.pictures import PictureFacts
from vmaf_assay.tune.result import CurvePoint, ProbePoint, Retry, SampleFacts, TuneResult

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "json-output.md"
FOLDER = ROOT / "src" / "vmaf_assay" / "schemas" / "output"
SIMPLE = {"string", "number", "integer", "boolean", "object"}

RECORDS: dict[str, tuple[type, str]] = {
    "TuneResult": (TuneResult, ""),
    "SceneResult": (SceneResult, ""),
    "CompareResult": (CompareResult, ""),
    "PairScore": (PairScore, "pair."),
}
"""Record of each generated table, and what its fields stand in."""

NESTED = {
    one.__name__: one
    for one in (
        Promise,
        NoPromise,
        CurvePoint,
        ProbePoint,
        Retry,
        SampleFacts,
        PictureFacts,
        SceneRow,
        Contender,
        Refused,
        Kept,
        MeasuredPoint,
    )
}

DERIVED: dict[type, tuple[str, ...]] = {
    Promise: (
        *("made", "supported", "reachable", "calibrated_target", "calibrated_kind", "confidence"),
        *("own_encodes", "reasons"),
    ),
    TuneResult: ("promised", "supported", "reachable", "calibrated", "quality_met", "answer"),
    SceneResult: ("met", "mean_met", "within_tolerance", "scenes_below", "largest_step", "answer"),
    Contender: ("promised", "supported", "reachable", "met"),
    CompareResult: ("cheapest",),
}
"""What `as_json` adds to the fields of a record; of a promise all that it gives."""

SAME_AS = {"calibrated": (Promise, "calibrated_kind"), "met": (Contender, "meets")}
"""Derived values that are called otherwise in the record."""


def page() -> str:
    """docs/json-output.md, its generated tables written from the records."""

    def made(match: re.Match[str]) -> str:
        record, prefix = RECORDS[match[1]]
        rows = [f"| `{prefix}{name}` | {kind} | {meaning} |" for name, kind, meaning in fields_of(record)]
        head = ["| field | type | meaning |", "|---|---|---|"]
        return "\n".join([f"<!-- fields of {match[1]} -->", *head, *rows, "<!-- end of fields -->"])

    pattern = r"<!-- fields of (\w+) -->\n.*?<!-- end of fields -->"
    return re.sub(pattern, made, PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def fields_of(record: type, prefix: str = "") -> list[tuple[str, str, str]]:
    """Name, type and meaning of every value in a record's JSON, those inside others after them."""
    hints = typing.get_type_hints(record)
    words = _docstrings(record)
    plain = [] if record is Promise else list(words_in_order(record))
    rows: list[tuple[str, str, str]] = []
    for name in [*plain, *(one for one in DERIVED.get(record, ()) if one not in plain)]:
        owner, attribute = (record, name) if record is SceneResult else SAME_AS.get(name, (record, name))
        if not hasattr(owner, attribute) and attribute not in words:
            owner = Promise
        hint = hints.get(name) if owner is record else typing.get_type_hints(owner).get(attribute)
        meaning = words.get(name) if owner is record else _docstrings(owner).get(attribute)
        member = inspect.getattr_static(owner, attribute, None)
        if hint is None:
            function = member.fget if isinstance(member, property) else member
            hint = typing.get_type_hints(function)["return"]
            meaning = inspect.getdoc(function) or ""
        rows += _rows(prefix + name, hint, _sentence(meaning or ""))
    return rows


def words_in_order(record: type) -> tuple[str, ...]:
    """The names of a record's fields."""
    if dataclasses.is_dataclass(record):
        return tuple(field.name for field in dataclasses.fields(record))
    return tuple(record._fields)  # type: ignore[attr-defined]  # a NamedTuple


def _rows(name: str, hint: Any, meaning: str) -> list[tuple[str, str, str]]:  # noqa: ANN401 - an annotation
    """The row of one value, and those of what is in it."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType) and len(parts) < len(
        typing.get_args(hint)
    )
    null, hint = (" or null", parts[0]) if optional else ("", hint)
    if name.endswith("cheapest"):
        rows = [(name, f"object{null}", meaning)]
        named = fields_of(Contender, f"{name}.")
        return rows + [row for row in named if row[0] in (f"{name}.encoder", f"{name}.preset")]
    if typing.get_origin(hint) in (list, tuple):
        (inner, *_) = typing.get_args(hint)
        if inner is not dict and typing.get_origin(inner) is not dict and inner.__name__ not in NESTED:
            return [(name, f"list of {_word(inner)}s{null}", meaning)]
        row = (name, f"list of objects{null}", meaning)
        if inner.__name__ in NESTED:
            return [row, *fields_of(inner, f"{name}[].")]
        keys = re.findall(r"`(\w+)`", meaning)
        return [row, *((f"{name}[].{key}", "number", "of that encode") for key in keys)]
    if getattr(hint, "__name__", "") in NESTED:
        return [(name, f"object{null}", meaning), *fields_of(hint, f"{name}.")]
    return [(name, f"{_word(hint)}{null}", meaning)]


def _word(hint: Any) -> str:  # noqa: ANN401 - an annotation
    """The page's word for a type."""
    return {float: "number", int: "integer", bool: "boolean"}.get(hint, "string")


def _sentence(text: str) -> str:
    """A docstring's first paragraph as a table's cell."""
    first = " ".join(text.split("\n\n")[0].split()).rstrip(".").replace("|", "/")
    first = re.sub(r"\bNone\b", "null", first)
    return first if first[:2].isupper() else first[:1].lower() + first[1:]


def _docstrings(record: type) -> dict[str, str]:
    """Field name -> the string below it, or the name in words where it says everything."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            said = (
                after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            )
            found[statement.target.id] = str(said) or statement.target.id.replace("_", " ")
    return found


def schemas() -> dict[str, dict[str, Any]]:
    """A schema for every section of the page that has a table of fields, by verb with underscores."""
    made: dict[str, dict[str, Any]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        if "| field | type | meaning |" not in text:
            continue
        for title in re.findall(r"`assay ([a-z -]+?)(?: [A-Z]+)?`", heading):
            verb = re.sub("[ -]+", "_", title)
            made[verb] = _head(title) | _section(text, made)
    return made


def _head(title: str) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"assay {title} --json"}


def _section(text: str, made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a section: of its table, or of any of its tables if it is divided by `###`.

    A part that says "All fields of `assay VERB`, and" has those of that verb too, which is described before it.
    """
    parts = re.split(r"^### ", text, flags=re.MULTILINE)
    if len(parts) > 1:
        return {"anyOf": [_section(part, made) for part in parts[1:]]}
    root: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    if more := re.search(r"^All fields of `assay ([a-z]+)`, and", text, re.MULTILINE):
        known = made[more[1]]
        root = {"type": "object", "properties": dict(known["properties"]), "required": [*known["required"]]}
    rows = re.findall(r"^\| (`.+?) \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    named = [(name, kind, meaning) for names, kind, meaning in rows for name in re.findall(r"`([^`]+)`", names)]
    listed = all(name.startswith("[].") for name, _, _ in named)
    for name, kind, meaning in named:
        _add(root, name.removeprefix("[].") if listed else name, kind, meaning)
    return {"type": "array", "items": root} if listed else root


def _add(root: dict[str, Any], name: str, kind: str, meaning: str) -> None:
    """Put a field into the schema at its place."""
    *parents, last = name.replace("[]", ".[]").split(".")
    at = root
    for part in parents:
        at = at["items"] if part == "[]" else at["additionalProperties"] if part == "*" else at["properties"][part]
    field = _type(kind.removeprefix("optional ")) | {"description": meaning}
    if last == "*":
        at["additionalProperties"] = field
        return
    at.setdefault("properties", {})[last] = field
    if not kind.startswith("optional "):
        at.setdefault("required", []).append(last)


def _type(kind: str) -> dict[str, Any]:
    """The schema of a type in the words of the page; an unknown word is an error.

    >>> _type("list of numbers or null")
    {'type': ['array', 'null'], 'items': {'type': 'number'}}
    """
    plain, null = kind.removesuffix(" or null"), kind.endswith(" or null")
    item = plain.removeprefix("list of ").removesuffix("s")
    name = "array" if plain.startswith("list of ") else plain
    if (item if name == "array" else plain) not in SIMPLE:
        raise ValueError(f"{PAGE.name}: unknown type {kind!r}")
    made: dict[str, Any] = {"type": [name, "null"] if null else name}
    return made | {"items": {"type": item}} if name == "array" else made


def digest() -> str:
    """Twelve digits of the digest of all schemas; the changelog names it."""
    return sha256_bytes(canonical_json(schemas()))[:12]


if __name__ == "__main__":
    write_bytes_atomic(PAGE, page().encode())
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for verb, schema in schemas().items():
        write_json_atomic(FOLDER / f"{verb}.schema.json", schema)
    print(f"say in CHANGELOG.md what changed, and end the newest section in: <!-- JSON contract {digest()} -->")
