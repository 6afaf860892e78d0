"""Feed every loader what libFuzzer makes of good files, for an hour: no traceback, no hang, bounded memory.

    pip install atheris==3.0.0
    python -m tests.fuzz.coverage_guided --seconds 3600 -o FOLDER
    python -m tests.fuzz.coverage_guided --target verdict --seconds 60 -o FOLDER

Atheris (not a dependency of anything here) instruments the package's Python code, so that inputs which reach new
lines are kept and mutated further; polars, onnx and onnxruntime are fed as they are. All loaders share one
process; an input's first byte says which one reads the rest. A finding is an exception that is no AssayError, an
error of more than one printable line, or an input that takes over 20 s of processor time; its input and traceback
are kept in `FOLDER/findings`, and the fuzzing goes on. A process over 2 GiB, or stuck for 15 minutes, is ended by
libFuzzer. `FOLDER/table.md` is written anew every minute.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.mutate import mutate_bytes, mutate_json

CPU_LIMIT_S = 20
TIMEOUT_S = 900
"""By the clock, for what never comes back; a machine may stop background work for minutes."""
RSS_MB = 2048
MAX_INPUT_BYTES = 1 << 17
EVERY_S = 60


class Campaign:
    """Targets, what was tried on each, and what was found."""

    def __init__(self, names: list[str], out: Path) -> None:
        from tests.fuzz.targets import make_targets

        targets = make_targets(Path(tempfile.mkdtemp(prefix="fuzz-")))
        self.names = names or list(targets)
        self.targets = [targets[name] for name in self.names]
        self.out = out
        self.tried: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.cpu_s: Counter[str] = Counter()
        self.found: set[tuple[str, str]] = set()
        self.written = time.monotonic()
        (out / "findings").mkdir(parents=True, exist_ok=True)
        (out / "inputs").mkdir(exist_ok=True)
        for index, target in enumerate(self.targets):
            for number, data in enumerate(target.good):
                (out / "inputs" / f"good-{self.names[index]}-{number}").write_bytes(bytes([index]) + data)

    def one_input(self, data: bytes) -> None:
        """Read one input; findings are kept, not raised."""
        from vmaf_assay.errors import AssayError

        index = data[0] % len(self.names) if data else 0
        name, began = self.names[index], time.process_time()
        self.tried[name] += 1
        try:
            self.targets[index].read(data[1:])
            self.accepted[name] += 1
        except AssayError as error:
            if not str(error).isprintable():
                self.keep(name, data, f"not one printable line: {str(error)!r}")
        except (Exception, sys.modules["polars"].exceptions.PanicException) as error:
            frames = traceback.extract_tb(error.__traceback__)
            last = next((f for f in reversed(frames) if "vmaf_assay" in f.filename), frames[-1])
            self.keep(name, data, f"{type(error).__name__} at {last.name}\n{traceback.format_exc()}")
        spent = time.process_time() - began
        self.cpu_s[name] += spent
        if spent > CPU_LIMIT_S:
            self.keep(name, data, f"took too long\n{spent:.0f} s")
        if time.monotonic() - self.written > EVERY_S:
            self.write()

    def keep(self, name: str, data: bytes, what: str) -> None:
        """Keep the first input of each kind of finding."""
        kind = (name, what.partition("\n")[0])
        if kind not in self.found:
            self.found.add(kind)
            path = self.out / "findings" / f"{name}-{len(self.found)}"
            path.write_bytes(data[1:])
            path.with_suffix(".txt").write_text(what, encoding="utf-8", errors="backslashreplace")

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Change what the loader reads: half the time as JSON, else as bytes."""
        import atheris

        rng = random.Random(seed)
        head, body = data[:1], data[1:]
        if not head or rng.random() < 0.02:
            index = rng.randrange(len(self.names))
            head, body = bytes([index]), rng.choice(self.targets[index].good)
        changed = mutate_json(body, rng) if rng.random() < 0.5 else None
        if changed is None and rng.random() < 0.3:
            changed = mutate_bytes(body, rng)
        if changed is None:
            changed = atheris.Mutate(body, max_size - 1)
        return (head + changed)[:max_size]

    def write(self) -> None:
        """Write the table as it stands."""
        self.written = time.monotonic()
        lines = ["| loader | inputs | of them taken | s | findings |", "|---|---|---|---|---|"]
        for name in self.names:
            found = sum(1 for of, _ in self.found if of == name)
            lines.append(
                f"| {name} | {self.tried[name]} | {self.accepted[name]} | {self.cpu_s[name]:.0f} | {found} |"
            )
        totals = (sum(self.tried.values()), sum(self.accepted.values()), sum(self.cpu_s.values()), len(self.found))
        lines.append("| all | {} | {} | {:.0f} | {} |".format(*totals))
        (self.out / "table.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Parse the command line and fuzz; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--target", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["vmaf_assay"]):
        campaign = Campaign(arguments.target, arguments.out)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-timeout={TIMEOUT_S}",
        f"-rss_limit_mb={RSS_MB}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={arguments.out / 'findings'}/",
        "-len_control=0",
        "-reload=0",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, str(arguments.out / "inputs")], campaign.one_input, custom_mutator=campaign.mutate
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
