"""How long the command takes to answer: wall seconds of whole processes, median and worst of N.

Usage: cli_start.py [N]
"""

import statistics
import sys
import time

from vmaf_assay.media import process

COMMANDS = {
    "assay --help": ["-m", "vmaf_assay", "--help"],
    "assay --version": ["-m", "vmaf_assay", "--version"],
    "assay tune --help": ["-m", "vmaf_assay", "tune", "--help"],
    "import vmaf_assay": ["-c", "import vmaf_assay"],
    "python -c pass": ["-c", "pass"],
}


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for name, argv in COMMANDS.items():
        seconds = []
        for _ in range(n):
            started = time.perf_counter()
            done = process.run([sys.executable, *argv], timeout_s=60)
            seconds.append(time.perf_counter() - started)
            assert done.exit_code == 0, done.stderr
        print(
            f"{name:20s} median {statistics.median(seconds) * 1000:4.0f} ms, worst {max(seconds) * 1000:4.0f} ms"
        )


if __name__ == "__main__":
    main()
