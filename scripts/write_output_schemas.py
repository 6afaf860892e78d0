"""Write the JSON Schemas of `--json` output from docs/json-output.md, where every field is described.

One source: a field that is not on the page is not in the schema, and a test fails on output that holds it.
"""

import re
from pathlib import Path
from typing import Any

from vmaf_assay.media.files import canonical_json, sha256_bytes, write_json_atomic

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "json-output.md"
FOLDER = ROOT / "src" / "vmaf_assay" / "schemas" / "output"
SIMPLE = {"string", "number", "integer", "boolean", "object"}


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
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for verb, schema in schemas().items():
        write_json_atomic(FOLDER / f"{verb}.schema.json", schema)
    print(f"say in CHANGELOG.md what changed, and end the newest section in: <!-- JSON contract {digest()} -->")
