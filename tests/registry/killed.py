"""Run an act on copies of a registry and kill it, with SIGKILL, at one point after another.

`python -m tests.registry.killed ACT TEMPLATE OUT RUN KEY POINT...`: for each point a copy of TEMPLATE is made as
OUT/POINT, and a fork of this process does ACT on it. Before the POINT-th time that it would make a file's bytes
durable or rename a file into place, it is killed. One line a point: `POINT killed` or `POINT done`.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from vmaf_assay.admission import lifecycle as acts
from vmaf_assay.admission import promotion
from vmaf_assay.admission.promotion import Who
from vmaf_assay.registry.signing import load_private_key
from vmaf_assay.training.evidence import load_run

FR = "fr_regressor_v2_ensemble_v1"


def main(act: str, template: Path, out: Path, run: Path, key: Path, points: list[int]) -> None:
    """Do it."""
    for point in points:
        if template.is_dir():
            shutil.copytree(template, out / str(point))
        child = os.fork()
        if child == 0:
            kill_before(point)
            do(act, out / str(point), run, key)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status != 0:
            raise SystemExit(f"{act} at {point} ended with {status}")
        sys.stdout.write(f"{point} {'killed' if killed else 'done'}\n")


def kill_before(point: int) -> None:
    """From now on the process dies before its `point`-th fsync or rename, counted together from 0."""
    left = [point]
    fsync, replace = os.fsync, Path.replace

    def counted() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def counted_fsync(descriptor):
        counted()
        fsync(descriptor)

    def counted_replace(self, target):
        counted()
        return replace(self, target)

    os.fsync, Path.replace = counted_fsync, counted_replace


def do(act: str, registry: Path, run: Path, key: Path) -> None:
    """One act, signed."""
    who = Who(reason="killed", keys=(load_private_key(key),))
    if act == "promote":
        promotion.promote(load_run(run), registry, who)
    elif act == "sign":
        acts.sign_verdict(registry, FR, who)
    else:
        getattr(acts, act)(registry, FR, who)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0], *map(Path, arguments[1:5]), [int(point) for point in arguments[5:]])
