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
    made = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title = re.match(r"`assay ([a-z -]+?)(?: [A-Z]+)?`\n", section)
        rows = re.findall(r"^\| (`.+?) \| (.*?) \| (.*) \|$", section, re.MULTILINE)
        if title and rows and "| field | type | meaning |" in section:
            made[re.sub("[ -]+", "_", title[1])] = _schema(title[1], rows)
    return made


def _schema(verb: str, rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"assay {verb} --json",
        "type": "object",
        "properties": {},
        "required": [],
    }
    for names, kind, meaning in rows:
        for name in re.findall(r"`([^`]+)`", names):
            _add(root, name, kind, meaning)
    return root


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
    print(f"say in CHANGELOG.md what changed, and: JSON contract {digest()}")
