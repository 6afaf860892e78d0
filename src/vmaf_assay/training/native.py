"""The native engine: kernel.c compiled once for this machine, checked bit by bit, called through ctypes.

Nothing is compiled at install time. Without a compiler or a fused multiply-add, `unavailable` says so and `train`
uses the JAX program. A library is kept in the user's cache under a name that covers its source, flags, compiler
and processor. It is stored only after it has trained a small member to the same bits as training/reference.py.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmaf_assay.errors import ToolError
from vmaf_assay.media import process
from vmaf_assay.media.files import sha256_file, write_bytes_atomic
from vmaf_assay.training.reference import F32, Dropout, Rows, train_reference

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-fPIC",
    "-shared",
    "-nostartfiles",
    "-w",
)
"""-ffp-contract=off: the compiler fuses a multiplication and addition only where the source says so.

-nostartfiles: with -ffast-math in `CC`, loading a library would make the whole process flush subnormal numbers to
zero. Refusing the library afterwards would not undo that.
"""

_CHECK_STEPS = 2
_ALIGN = 64


class Shape(NamedTuple):
    """What a kernel is compiled for."""

    inputs: int
    """K + D, padded with zeros to a multiple of 4."""
    hidden: int
    """Units of a hidden layer."""
    batch: int
    """Rows a step."""

    @classmethod
    def of(cls, n_inputs: int, hidden: int, batch: int) -> "Shape":
        """For a recipe."""
        return cls(-(-n_inputs // 4) * 4, hidden, batch)


def unavailable(hidden: int, batch: int) -> str | None:
    """Why the native engine cannot train such layers with such steps here, in words; None if it can."""
    if hidden % 32 or batch % 4:
        return f"the kernel takes 32 units and 4 rows at a time, not {hidden} and {batch}"
    if not _has_fma():
        return "the processor has no fused multiply-add that this package knows of"
    if compiler() is None:
        return "there is no C compiler (cc, gcc or clang)"
    return None


def compiler() -> list[str] | None:
    """The C compiler's command: `CC` if it is set, else the first of cc, gcc, clang."""
    named = shlex.split(os.environ.get("CC", ""))
    candidates = [named] if named else [["cc"], ["gcc"], ["clang"]]
    return next((command for command in candidates if shutil.which(command[0])), None)


@lru_cache(maxsize=1)
def _processor() -> str:
    """What identifies the processor for machine code: its flags on Linux, else its name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))]
        return platform.machine() + "\n" + "\n".join(sorted(set(kept)))
    return f"{platform.machine()} {platform.processor()}"


def _has_fma() -> bool:
    return platform.machine() in {"arm64", "aarch64"} or {"fma", "avx2"} <= set(_processor().split())


class Kernel:
    """A compiled and checked kernel."""

    def __init__(self, shape: Shape, library: ctypes.CDLL, made_by: str) -> None:
        self.shape = shape
        """What it was compiled for."""
        self.made_by = made_by
        """The compiler's own first line."""
        self._train = library.train
        self._train.restype = None
        pointers, words = [ctypes.c_void_p] * 7, [ctypes.c_uint32] * 4
        self._train.argtypes = [*pointers, *words, ctypes.c_float, ctypes.c_float]
        self._draw = library.draw
        self._draw.restype = None
        self._draw.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_uint64]
        self._bytes = []
        for name in ("member_bytes", "scratch_bytes"):
            function = getattr(library, name)
            function.restype = ctypes.c_uint64
            self._bytes.append(int(function()))

    def batches(
        self, generator: np.random.Generator, train_rows: NDArray[np.int64], steps: int, size: int
    ) -> Iterator[NDArray[np.int32]]:
        """Row indices of every step, as `recipe.batches` gives them, in a third of the time.

        Args:
          generator: NumPy's default generator; its state is not changed.
          train_rows: the member's rows.
          steps: in all.
          size: of a slice, at most.
        """
        rows = train_rows.astype(np.int32)
        present = np.empty_like(rows)
        draws = _draws(generator, len(rows))
        for start in range(0, steps, size):
            out = np.empty((min(size, steps - start), self.shape.batch), dtype=np.int32)
            self._draw(draws.ctypes.data, rows.ctypes.data, present.ctypes.data, out.ctypes.data, out.size)
            yield out

    def train(
        self,
        initial: list[F32],
        rows: Rows,
        slices: Iterable[NDArray[np.int32]],
        rates: F32,
        dropout: Dropout,
        coupled: float,
    ) -> list[F32]:
        """Parameters of one member after all steps; w1, b1, w2, b2, w3, b3 as in `recipe.initial_weights`.

        The kernel runs without the interpreter's lock, so that threads train members in parallel. Between calls it
        takes the next of `slices`, which may raise to stop.

        Args:
          initial: initial parameters.
          rows: the member's scaled rows; inputs [N, K + D].
          slices: row indices of every step, [S, B] a slice.
          rates: `recipe.adam_rates` of all steps.
          dropout: the member's.
          coupled: weight decay that goes into the gradient.
        """
        member, scratch = (_aligned_zeros(size) for size in self._bytes)
        parts = _parts(member, self.shape)
        n_inputs = rows.inputs.shape[1]
        for part, given in zip(parts, initial, strict=True):
            part[: len(given)] = given
        table = np.zeros((len(rows.truth), self.shape.inputs), dtype=np.float32)
        table[:, :n_inputs] = rows.inputs
        truth, weight = (np.ascontiguousarray(part, dtype=np.float32) for part in (rows.truth, rows.weight))
        step = 0
        for order in slices:
            batch = np.ascontiguousarray(order, dtype=np.int32)
            at = np.ascontiguousarray(rates[step : step + len(batch)])
            if batch.min() < 0 or batch.max() >= len(truth) or batch.shape[1] != self.shape.batch:
                raise ValueError("a step reads rows that do not exist")
            pointers = [part.ctypes.data for part in (member, scratch, table, truth, weight, batch, at)]
            numbers = (len(batch), step, dropout.seed, dropout.threshold)
            self._train(*pointers, *numbers, float(dropout.scale), coupled)
            step += len(batch)
        parts[0] = parts[0][:n_inputs]
        return [part.copy() for part in parts]


def _draws(generator: np.random.Generator, n_rows: int) -> NDArray[np.uint8]:
    """A `struct draws` with a generator's state, before the first permutation."""
    state = generator.bit_generator.state
    words = [state["state"]["state"], state["state"]["inc"]]
    kept = _aligned_zeros(48)
    kept[:32].view(np.uint64)[:] = [part for word in words for part in (word & (2**64 - 1), word >> 64)]
    kept[32:].view(np.uint32)[:] = [state["uinteger"], state["has_uint32"], n_rows, n_rows]
    return kept


def _aligned_zeros(n_bytes: int) -> NDArray[np.uint8]:
    raw = np.zeros(n_bytes + _ALIGN, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGN
    return raw[start : start + n_bytes]


def _parts(member: NDArray[np.uint8], shape: Shape) -> list[F32]:
    """The parameters inside a `struct member`, as views."""
    flat = member.view(np.float32)
    shapes = [(shape.inputs, shape.hidden), (1, shape.hidden), (shape.hidden, shape.hidden), (1, shape.hidden)]
    parts, start = [], 0
    for rows, columns in [*shapes, (shape.hidden, 1), (1, 1)]:
        parts.append(flat[start : start + rows * columns].reshape(rows, columns))
        start += rows * columns
    return parts


@lru_cache(maxsize=8)
def load(shape: Shape) -> Kernel:
    """The kernel for a shape, compiled if it is not in the cache.

    Raises:
      ToolError: it does not compile, or does not compute what it should.
    """
    cc = compiler()
    if cc is None:
        raise ToolError("there is no C compiler", next_step="install gcc or clang, or use --engine jax")
    source = resources.files("vmaf_assay.training").joinpath("kernel.c").read_bytes()
    made_by = process.run([*cc, "--version"], timeout_s=30).stdout.decode(errors="replace").split("\n")[0]
    flags = [*FLAGS, *(f"-D{name.upper()}={value}" for name, value in shape._asdict().items())]
    named = hashlib.sha256("\0".join([*cc, made_by, *flags, _processor()]).encode() + b"\0" + source).hexdigest()
    folder = _cache_folder()
    kept = folder / f"{named[:32]}.so" if folder else None
    if kept and (kernel := _load_kept(kept, shape, made_by)):
        return kernel
    # Beside its final place, so that the rename cannot cross file systems; private to this user.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as temporary:
        built = build(cc, flags, source, Path(temporary))
        try:
            kernel = Kernel(shape, ctypes.CDLL(str(built)), made_by)
        except (OSError, AttributeError) as error:
            raise ToolError(
                f"the training kernel made by {made_by} does not load: {error}",
                next_step="use --engine jax, or another compiler by CC=",
            ) from error
        check(kernel)
        if kept:
            write_bytes_atomic(_digest_file(kept), sha256_file(built).encode())
            built.replace(kept)
    return kernel


def _digest_file(kept: Path) -> Path:
    return kept.with_suffix(".sha256")


def _load_kept(kept: Path, shape: Shape, made_by: str) -> Kernel | None:
    """A kept kernel if its bytes have the digest kept beside it; None if it must be built again.

    Loading a cut library kills the process, so it is compared before.
    """
    digest = _digest_file(kept)
    if not (_is_ours(kept) and _is_ours(digest)):
        return None
    try:
        if sha256_file(kept).encode() != digest.read_bytes():
            return None
        return Kernel(shape, ctypes.CDLL(str(kept)), made_by)
    except (OSError, AttributeError):
        return None


def build(cc: list[str], flags: Iterable[str], source: bytes, folder: Path) -> Path:
    """Compile the source in a folder.

    Raises:
      ToolError: the compiler refuses.
    """
    code, library = folder / "kernel.c", folder / "kernel.so"
    code.write_bytes(source)
    argv = [*cc, *flags, str(code), "-o", str(library), "-lm"]
    done = process.run(argv, cwd=folder, timeout_s=120)
    if done.exit_code != 0:
        raise ToolError(
            f"{cc[0]} does not compile the training kernel: {done.tail()}",
            next_step="use --engine jax, or another compiler by CC=",
            argv=argv,
            exit_code=done.exit_code,
        )
    return library


def check(kernel: Kernel) -> None:
    """Refuse a kernel unless it trains a small synthetic member to the bits of the reference, in NumPy's order.

    Raises:
      ToolError: it does not.
    """
    shape, n_rows = kernel.shape, kernel.shape.batch + 3
    rng = np.random.default_rng(0)
    rows = Rows(
        rng.normal(size=(n_rows, shape.inputs)).astype(np.float32),
        rng.normal(size=n_rows).astype(np.float32),
        rng.uniform(0.02, 1, n_rows).astype(np.float32),
    )
    sizes = ((shape.inputs, shape.hidden), (1, shape.hidden), (shape.hidden, shape.hidden), (1, shape.hidden))
    initial = [rng.normal(0, 0.25, s).astype(np.float32) for s in (*sizes, (shape.hidden, 1), (1, 1))]
    order = rng.integers(n_rows, size=(_CHECK_STEPS, shape.batch)).astype(np.int32)
    rates = np.array([[1e-2, 30.0, 1e-3], [5e-3, 20.0, 1e-4]], dtype=np.float32)
    dropout = Dropout.of(0xC0FFEE, 0.1)
    ours = kernel.train(initial, rows, [order], rates, dropout, 1e-2)
    expected = train_reference(initial, rows, order, rates, dropout, 1e-2)
    (drawn,) = kernel.batches(np.random.default_rng(1), np.arange(n_rows), 1, 1)
    permuted = np.random.default_rng(1).permutation(n_rows)[: shape.batch]
    if not np.array_equal(drawn[0], permuted) or any(
        mine.tobytes() != theirs.tobytes() for mine, theirs in zip(ours, expected, strict=True)
    ):
        raise ToolError(
            f"the training kernel made by {kernel.made_by} computes other bits than it should",
            next_step="use --engine jax, or another compiler by CC=",
        )


def _cache_folder() -> Path | None:
    """Folder for libraries, private to this user; None if there is no such folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "vmaf-assay" / "kernels"
    try:
        for made in (folder.parent, folder):  # the mode of `mkdir` is only for the last of its folders
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if _is_ours(folder, stat.S_ISDIR) and os.access(folder, os.W_OK) else None


def _is_ours(path: Path, kind: "type[bool] | object" = stat.S_ISREG) -> bool:
    """Whether only this user could have put it there: no link, own file, not writable by others."""
    try:
        facts = path.lstat()
    except OSError:
        return False
    assert callable(kind)
    return bool(kind(facts.st_mode)) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022
