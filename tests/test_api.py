"""The Python interface: what it exports, what importing it costs, and every example in the documents."""

import ast
import dataclasses
import inspect
import re
import shutil
import sys
from pathlib import Path

import pytest

import vmaf_assay as va
from tests.conftest import lavfi
from vmaf_assay import api
from vmaf_assay.media import process

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "```python" in page.read_text()
]


def test_package_exports_the_interface():
    """`vmaf_assay` and `vmaf_assay.api` name the same things, each there and documented."""
    assert set(va.__all__) - {"__version__"} == set(api.__all__)
    for name in api.__all__:
        assert getattr(va, name) is getattr(api, name)
        assert inspect.getdoc(getattr(va, name)), name
    assert set(dir(va)) == set(va.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = va.nonsense


def test_type_checkers_see_the_same_names():
    """The names imported for type checkers are those exported, so `va.` completes and checks."""
    tree = ast.parse(Path(va.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert {alias.name for node in block.body for alias in node.names} == set(api.__all__)


def test_every_function_is_annotated():
    """Each argument and each result of the interface has a type."""
    for name in api.__all__:
        thing = getattr(va, name)
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not inspect.Signature.empty, name
            assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values()), name


@pytest.mark.parametrize(
    ("function", "record"),
    [
        ("compare_encoders", "CompareRequest"),
        ("build_corpus", "CorpusRequest"),
    ],
)
def test_arguments_are_the_fields_of_the_record(function, record):
    """A function takes every field of its request, with the same default, so that neither can drift."""
    arguments = dict(inspect.signature(getattr(va, function)).parameters)
    for plain in ("settings", "ffmpeg", "on_step"):
        arguments.pop(plain, None)
    known = {field.name: field for field in dataclasses.fields(getattr(va, record))}
    assert set(arguments) == set(known)
    if record != "CorpusRequest":  # where lists may be given for tuples
        for name, argument in arguments.items():
            if argument.default is not inspect.Parameter.empty:
                assert argument.default == known[name].default, name


def test_keywords_of_tune_source_are_the_fields_of_its_request():
    """Every field but source and encoder can be given by name; an unknown name is a TypeError, as usual."""
    from vmaf_assay.api.settings import SETTINGS, TuneAsked

    keywords = {*TuneAsked.__annotations__} - SETTINGS
    assert keywords == {field.name for field in dataclasses.fields(va.TuneRequest)} - {
        "source",
        "encoder",
    }
    with pytest.raises(TypeError, match="target"):
        va.tune_source("in.mkv", "libx264", target=90)


@pytest.mark.ffmpeg
def test_a_corpus_is_built_of_the_sources_that_can_be_used(ffmpeg, tmp_path):
    """As on the command line: one source that cannot be used is named, and the corpus holds the others."""
    clips = tmp_path / "clips"
    clips.mkdir()
    lavfi(ffmpeg, clips / "good.mkv", "-frames:v", "4", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    (clips / "bad.mkv").write_bytes(b"no video")
    with pytest.raises(va.SourcesRefusedError) as caught:
        va.build_corpus([clips], tmp_path / "corpus", encoders=["x264:veryfast:30"], jobs=1)
    assert list(caught.value.refused) == ["bad"]
    corpus = va.load_corpus(tmp_path / "corpus")
    assert {(cell.source, cell.encoder) for cell in corpus.cells} == {("good", "libx264")}
    again = va.build_corpus(
        [f"file://{clips / 'good.mkv'}"], tmp_path / "url", encoders=["x264:veryfast:30"], jobs=1
    )
    assert [cell.encoder for cell in again.cells] == ["libx264"]


def test_importing_loads_nothing_and_using_it_loads_no_jax():
    """`import vmaf_assay` loads no numerical package; the first name does, without JAX; nothing is printed."""
    code = (
        "import sys, vmaf_assay as va; before = 'numpy' in sys.modules; va.load_ensemble();"
        "sys.exit(bool(before or 'numpy' not in sys.modules or {'jax', 'optax', 'typer'} & {*sys.modules}))"
    )
    done = process.run([sys.executable, "-W", "error", "-c", code], timeout_s=60)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"", "")


def test_probing_for_an_encoder_never_trained_on_is_refused_before_the_source_is_opened():
    """By name, with those that were; not an empty set of probes."""
    with pytest.raises(api.ConfigError, match=r"never trained on h264_nvenc; name some of .*libsvtav1"):
        api.probe_source("absent.mkv", api.load_ensemble(), encoders=["libx264", "h264_nvenc"])


def test_names_on_the_page_are_all_names():
    """docs/python.md lists every name there is."""
    table = (ROOT / "docs" / "python.md").read_text(encoding="utf-8").partition("## All names")[2]
    assert set(re.findall(r"`(\w+)`", table)) >= set(api.__all__)


def blocks(page: Path, *, slow: bool) -> list[tuple[int, str]]:
    """(line, code) of a page's Python blocks; slow ones are preceded by `<!-- test: slow -->`."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"(<!-- test: slow -->\n)?```python\n(.*?)```", text, re.DOTALL)
    return [(text[: m.start(2)].count("\n"), m[2]) for m in found if slow or not m[1]]


@pytest.fixture(scope="module")
def clip_folder(ffmpeg, tmp_path_factory) -> Path:
    """`in.mkv`, 48 frames of `mandelbrot=size=640x360:rate=25:maxiter=200`, and `clips/` with two small ones."""
    folder = tmp_path_factory.mktemp("examples")
    lossless = ("-frames:v", "16", "-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p")
    # Of 16 frames VMAF jumps by 0.3 points from one tenth of a CRF to the next: a promise can be missed by that.
    longer = ("-frames:v", "48", *lossless[2:])
    lavfi(ffmpeg, folder / "in.mkv", *longer, graph="mandelbrot=size=640x360:rate=25:maxiter=200")
    (folder / "clips").mkdir()
    for name, graph in (("a", "testsrc2=size=192x108"), ("b", "mandelbrot=size=192x108:maxiter=200")):
        lavfi(ffmpeg, folder / "clips" / f"{name}.mkv", *lossless, graph=f"{graph}:rate=25")
    return folder


def run_page(page: Path, folder: Path, monkeypatch, capsys, *, slow: bool) -> None:
    """Run a page's blocks in order in one namespace, in a folder of clips; none may print."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for line, code in blocks(page, slow=slow):
        exec(compile("\n" * line + code, str(page), "exec"), names)
    assert capsys.readouterr().out == ""


@pytest.mark.ffmpeg
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_in_the_documents_run(clip_folder, tmp_path, monkeypatch, capsys, page):
    """Every Python block of every page runs as written, in order, on a generated clip, and prints nothing."""
    assert blocks(page, slow=True)
    folder = shutil.copytree(clip_folder, tmp_path / "work")
    run_page(page, folder, monkeypatch, capsys, slow=False)


@pytest.mark.slow
def test_training_example_runs(clip_folder, tmp_path, monkeypatch, capsys):
    """The training example of docs/python.md passes its gate on the shipped corpus and loads what it promoted."""
    folder = shutil.copytree(clip_folder, tmp_path / "work")
    (folder / "data").mkdir()
    (folder / "data" / "corpus").symlink_to(ROOT / "data" / "corpus")
    run_page(ROOT / "docs" / "python.md", folder, monkeypatch, capsys, slow=True)
    assert (folder / "models" / "registry.json").is_file()


@pytest.mark.ffmpeg
def test_corpora_take_what_the_command_line_takes(ffmpeg, tmp_path):
    """`layout`, `raw` and `encoder_args` mean what they mean to `assay corpus build`: the digest is the same."""
    from vmaf_assay.cli.main import main

    clips = tmp_path / "clips"
    clips.mkdir()
    graph = "testsrc2=size=96x64:rate=25"
    lavfi(ffmpeg, clips / "odd.yuv", "-frames:v", "4", "-f", "rawvideo", "-pix_fmt", "yuv420p", graph=graph)
    asked = {"layout": "folder", "raw": "96x64:yuv420p:25"}
    options = "libx264=-tune grain"
    encoder = "libx264:veryfast:24,34"
    made = va.build_corpus([clips], tmp_path / "api", encoders=[encoder], encoder_args=[options], jobs=1, **asked)
    argv = ["corpus", "build", str(clips), "-o", str(tmp_path / "cli"), "-e", encoder, "--jobs", "1"]
    argv += ["--encoder-args", options, "--layout", asked["layout"], "--raw", asked["raw"]]
    assert main(argv) == 0
    assert made.digest == va.load_corpus(tmp_path / "cli").digest
    assert {cell.encoder_args for cell in made.cells} == {"-tune grain"}
    plain = va.build_corpus([clips], tmp_path / "plain", encoders=[encoder], jobs=1, **asked)
    assert plain.digest != made.digest
    with pytest.raises(va.ConfigError, match="layout"):
        va.build_corpus([clips], tmp_path / "bad", encoders=[encoder], layout="nonsense")
