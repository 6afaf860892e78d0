"""The laws of the layout, read from the syntax trees of the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import vmaf_assay

PACKAGE = Path(vmaf_assay.__file__).parent
LAYERS = (
    "errors",
    "records",
    "media",
    "model",
    "promise",
    "registry",
    "outcomes",
    "farm",
    "tune",
    "scenes",
    "corpus",
    "training",
    "admission",
    "report",
    "export",
    "api",
    "cli",
)
TUNING_WING = LAYERS[: LAYERS.index("corpus")]
"""Who only tunes loads these, and nothing below them."""
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a file imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(dotted: str) -> str | None:
    """The layer of `vmaf_assay.X...`; None for the package itself and for other packages."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "vmaf_assay" and len(parts) > 1 and parts[1] in LAYERS else None


def files_importing(*tops: str) -> set[str]:
    """The files that import any of these top-level packages."""
    return {name for name, tree in TREES.items() if {dotted.split(".")[0] for dotted in imported(tree)} & {*tops}}


def test_every_file_has_a_layer():
    """A new folder must be given its place in the order before anything can import it."""
    tops = {name.split("/")[0].removesuffix(".py") for name in FILES} - {"__init__", "__main__"}
    assert tops <= set(LAYERS)
    assert {"errors", "media", "cli"} <= tops


def test_imports_point_one_way():
    """A file imports only from layers above its own, or from its own."""
    wrong = []
    for name, tree in TREES.items():
        own = name.split("/")[0].removesuffix(".py")
        if own in {"__init__", "__main__"}:  # the package itself, and `python -m`
            continue
        for dotted in imported(tree):
            other = layer(dotted)
            if other is not None and LAYERS.index(other) > LAYERS.index(own):
                wrong.append(f"{name} imports {dotted}")
    assert wrong == []


def test_one_file_opens_models():
    """Nothing is given to onnxruntime but through `open_graph`, which checks the graph first."""
    opening = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        and "InferenceSession" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
    }
    assert opening == {"model/infer.py"}


def test_one_file_starts_processes():
    """Only media/process.py imports subprocess, and nobody goes round it through os."""
    assert files_importing("subprocess", "pty") == {"media/process.py"}
    calls = {
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr.startswith(("system", "popen", "spawn", "exec", "fork", "posix_spawn"))
    }
    assert calls == set()


def test_one_file_parses_media_in_c():
    """Only processes that read one file and end import PyAV; so `assay --help` stays fast."""
    assert files_importing("av") == {"media/demux_child.py", "media/copy_child.py", "media/hdr_child.py"}
    assert not any(dotted.endswith("_child") for tree in TREES.values() for dotted in imported(tree))


def test_commands_are_made_in_one_room():
    """Only the command files complete an ffmpeg argv; `rehearse` takes one apart that they made."""
    calls = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "base_argv"
    }
    assert calls == {"media/commands.py", "tune/streams_plan.py"}


def test_jax_stays_in_training():
    """Only the JAX engine imports JAX or optax, so `predict`, `tune` and native training can never need them."""
    assert files_importing("jax", "jaxlib", "optax") == {"training/jax_engine.py"}


def test_mlflow_stays_behind_its_extra():
    """Only the export itself imports MLflow's client, so that nothing else can come to need it."""
    assert files_importing("mlflow", "mlflow_skinny") == {"export/mlflow.py"}


NOT_YET = ("corpus", "outcomes")
"""Verbs that compose something of their own."""
API_ONLY = sorted(
    name.removeprefix("cli/commands/").removesuffix(".py")
    for name in FILES
    if name.startswith("cli/commands/") and not name.endswith("__init__.py")
)


def test_the_command_line_calls_the_python_interface():
    """What a verb runs is imported from `vmaf_assay.api`: nothing is composed a second time."""
    allowed = ("api", "cli", "errors")
    wrong = []
    for verb in sorted({*API_ONLY} - {*NOT_YET}):
        for node in ast.walk(TREES[f"cli/commands/{verb}.py"]):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vmaf_assay."):
                kind = node.module.split(".")[1]
                plain = node.module == "vmaf_assay.tune.segments"  # words on a sample
                if kind not in allowed and not plain:
                    wrong.append(f"{verb} imports {node.module}")
    assert wrong == []


def test_only_the_command_line_prints():
    """`print` and the standard streams belong to cli/."""
    wrong = []
    for name, tree in TREES.items():
        if name.startswith("cli/"):
            continue
        for node in ast.walk(tree):
            printed = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            streams = isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr"}
            if printed or (streams and isinstance(node.value, ast.Name) and node.value.id == "sys"):
                wrong.append(f"{name}:{node.lineno}")
    assert wrong == []


def test_files_and_functions_stay_readable():
    """No file over 500 lines, no function over 60."""
    long = [name for name, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > 60:
                    long.append(f"{name}:{node.lineno} {node.name}")
    assert long == []


def test_every_test_states_its_rule():
    """Each test function has a docstring."""
    silent = []
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                silent.append(f"{path.name}:{node.lineno} {node.name}")
    assert silent == []
