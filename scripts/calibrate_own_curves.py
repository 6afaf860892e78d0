"""Write `own_curve.json`: the calibration of curves from own probes, from the shipped forecast's measured curves.

    python scripts/calibrate_own_curves.py [--check]

Run it after a new forecast ensemble was promoted. `--check` writes nothing and fails if the file would change.
"""

import argparse
import sys
from pathlib import Path

import vmaf_assay
from vmaf_assay.media.files import write_json_atomic
from vmaf_assay.promise.own_curve import own_calibration
from vmaf_assay.registry.own_curve import calibrate_from, differs

FILE = Path(vmaf_assay.__file__).parent / "promise" / "own_curve.json"


def main() -> None:
    """Compute it, and write it or compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = calibrate_from(vmaf_assay.load_ensemble())
    for one in made.judged:
        print(
            f"{one.trials} trials, {one.confidence:g}: {one.encoder:12s} margin {one.scale:.1f}, "
            f"hit {one.coverage:.3f} of {one.n_groups} groups{'' if one.passed else ' FAILED'}"
        )
    if not check:
        write_json_atomic(FILE, made.model_dump(mode="json"))
    elif why := differs(own_calibration(), made):
        sys.exit(f"{FILE.name} differs: {why}")


if __name__ == "__main__":
    main()
