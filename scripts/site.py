"""Hooks of the documents' site: pages that lie outside docs/, and the command reference.

`mkdocs build --strict` runs them. Links that lead out of docs/ are turned to the copies made here.
"""

import json
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from vmaf_assay.cli.main import build_app

ROOT = Path(__file__).parents[1]
PROJECT = {
    "README.md": "readme",
    "CONTRIBUTING.md": "contributing",
    "AGENTS.md": "agents",
    "CHANGELOG.md": "changelog",
    "SECURITY.md": "security",
}
"""Root pages shown in the site, by their name there."""
COLUMNS = 78
"""Width of the command reference: what a code block shows without scrolling."""


def on_config(config: Any) -> Any:
    """Complete the navigation: every decision, root pages."""
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    config.nav.append({"Decisions": [f"adr/{name}" for name in decisions]})
    config.nav.append({"Project": [f"project/{name}.md" for name in PROJECT.values()]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the root pages, and each notebook as a page."""
    for source, name in PROJECT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, f"project/{name}.md", content=text))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between root pages and docs/ to where both are in the site; append the command reference."""
    if page.file.src_uri == "reference/cli.md":
        return f"{markdown}\n{command_reference()}"
    depth = page.file.src_uri.count("/")
    up = "../" * depth
    for source, name in PROJECT.items():
        for written in (f"{up}../{source}", *([source] if page.file.src_uri.startswith("project/") else [])):
            markdown = re.sub(rf"\]\({re.escape(written)}(#[^)]*)?\)", rf"]({up}project/{name}.md\1)", markdown)
    if page.file.src_uri.startswith("project/"):
        markdown = markdown.replace("](docs/adr/)", "](../adr/0303-gate-policy.md)")
        markdown = re.sub(r"(\]\(|src=\")docs/", r"\1../", markdown)
        markdown = markdown.replace("](LICENSE)", "](https://spdx.org/licenses/BSD-2-Clause-Patent.html)")
    return markdown


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its words, its code, and what the code printed when it was last kept."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        printed = "".join("".join(output.get("text", "")) for output in cell.get("outputs", []))
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + f"\n\nThe notebook itself: [{path.name}]({path.name}).\n"


def command_reference() -> str:
    """Every command's own help, in the order of the work."""
    parts = []
    for path, command in _commands(typer.main.get_command(build_app()), ("assay",)):
        names = ["-h", "--help"]
        name = " ".join(path)
        with command.make_context(name, ["x"] * 9, resilient_parsing=True, help_option_names=names) as context:
            context.terminal_width = context.max_content_width = COLUMNS
            parts.append(f"## {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]
    return [found for name, child in children.items() for found in _commands(child, (*path, name))]
