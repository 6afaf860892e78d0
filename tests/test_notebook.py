"""The notebook: it is shown in the documents, and runs as it stands."""

import json
import sys
from pathlib import Path

import pytest

from vmaf_assay.media import process

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "clip-to-page.ipynb"
RUN = (
    "import nbformat, sys; from nbclient import NotebookClient; book = nbformat.read(sys.argv[1], 4);"
    "NotebookClient(book, timeout=600, kernel_name='python3').execute(); nbformat.write(book, 'ran.ipynb')"
)


def printed(book: dict) -> str:
    """Everything that a notebook's cells printed."""
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)


def test_what_is_kept_is_small_and_whole():
    """The notebook is kept as it ran: its cells' words, no picture, no path of a machine, no error."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    book = json.loads(text)
    assert len(text) < 30_000
    assert "promised at least 90, measured" in printed(book)
    kinds = {output["output_type"] for cell in book["cells"] for output in cell.get("outputs", [])}
    assert kinds == {"stream"}


@pytest.mark.ffmpeg
def test_the_cells_fit_the_interface(tmp_path, monkeypatch, capsys):
    """The cells run one after another on a clip of twelve frames, so a changed interface is seen at once."""
    monkeypatch.chdir(tmp_path)
    shorter = {"size=1280x720": "size=320x180", '"-frames:v", "125"': '"-frames:v", "12"'}
    names: dict[str, object] = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        code = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        for long, short in shorter.items():
            code = code.replace(long, short)
        exec(compile(code, NOTEBOOK.name, "exec"), names)
    assert "promised at least 90, measured" in capsys.readouterr().out
    assert list(names["argv"])[-1] == "12"
    assert (tmp_path / "page.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.slow
@pytest.mark.ffmpeg
def test_the_notebook_runs(tmp_path, monkeypatch):
    """Every cell runs in a fresh kernel; the encode meets what was promised, and the page is whole."""
    monkeypatch.chdir(tmp_path)
    done = process.run([sys.executable, "-c", RUN, str(NOTEBOOK)], timeout_s=900)
    assert done.exit_code == 0, done.stderr
    said = printed(json.loads((tmp_path / "ran.ipynb").read_text(encoding="utf-8")))
    promised, _, measured = said.partition("promised at least ")[2].splitlines()[0].partition(", measured ")
    assert float(measured) >= float(promised) == 90
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert measured in page
    assert (tmp_path / "out.mkv").stat().st_size > 10_000
