"""Own-probe curves on a public table of x265 encodes (QP 15 to 45), leave-one-group-out.

    python bench/own_curves_table.py TABLE.csv [--width 3840]

The table has source, group, width, qp, megabytes and vmaf (ADR-0431 names where it is from). Two priors: the
shipped one, which never saw the table, and one fitted on all groups but those of the fold (ten folds). Errors are
of the curve through 1, 2 and 3 encodes, over all measured QPs with VMAF above 70. Choices: two probes, one trial,
the margin calibrated on the other groups; hit rate, and megabytes above the best choice.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from own_curves import chosen, part_of
from vmaf_assay.promise.own_calibrate import MARGINS, Family, fit_prior, needed, replayed
from vmaf_assay.promise.own_curve import Made, curves_through, first_index, next_index, own_calibration

TARGETS = (80.0, 85.0, 90.0, 93.0, 95.0)
ROUGHNESS = 0.14


def read(path: Path, width: int) -> tuple[Family, np.ndarray]:
    """Every source at one width with all 31 QPs, as one family; and ln(megabytes) on its grid, [B, G]."""
    table = pl.read_csv(path).filter(pl.col("width") == width).sort("source", "qp")
    qps = np.arange(15.0, 46.0)
    vmaf, size, groups = [], [], []
    for _, part in sorted(table.group_by("source"), key=lambda one: one[0]):
        if part["qp"].to_list() == qps.tolist():
            vmaf.append(np.minimum.accumulate(part["vmaf"].to_numpy()))
            size.append(np.log(part["megabytes"].to_numpy()))
            groups.append(str(part["group"][0]))
    truth = np.stack(vmaf)[:, ::-1]  # cheapest first
    place = qps / 51
    deficit = np.log(101 - np.minimum(np.stack(vmaf), 100))
    family = Family("libx265", tuple(groups), place, deficit, place[::-1], truth, ROUGHNESS)
    return family, np.stack(size)[:, ::-1]


def errors(family: Family, prior, target: float) -> list[np.ndarray]:
    """Absolute errors of the curve through 1, 2 and 3 encodes, points, where the truth is over 70."""
    rows = np.arange(len(family.groups))
    index, vmaf = np.full((len(rows), 3), -1), np.zeros((len(rows), 3))
    following, found = np.full(len(rows), first_index(family.at)), []
    for number in range(3):
        fresh = ~(index == following[:, None]).any(axis=1)
        index[fresh, number] = following[fresh]
        vmaf[:, number] = family.truth[rows, following]
        curve, _ = curves_through(prior, family.at, Made(index, vmaf))
        found.append(np.abs(curve - family.truth)[family.truth > 70])
        following = next_index(curve, target)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--width", type=int, default=3840)
    args = parser.parse_args()
    family, size = read(args.table, args.width)
    names = sorted(set(family.groups))
    folds = [names[start::10] for start in range(10)]
    print(f"{len(family.groups)} sources of {len(names)} groups")
    shipped = own_calibration()
    each = {"shipped prior": [shipped.prior] * 10}
    of = [np.array([group in fold for group in family.groups]) for fold in folds]
    each["prior of the other groups"] = [fit_prior([part_of(family, np.flatnonzero(~held))]) for held in of]
    for name, priors in each.items():
        found: list[list[np.ndarray]] = [[], [], []]
        for held, prior in zip(of, priors, strict=True):
            for target in TARGETS:
                for number, error in enumerate(errors(part_of(family, np.flatnonzero(held)), prior, target)):
                    found[number].append(error)
        means = [float(np.mean(np.concatenate(errs))) for errs in found]
        print(f"{name}: mean error with 1, 2, 3 encodes {', '.join(f'{one:.2f}' for one in means)} points")
        for confidence in (0.8, 0.9, 0.95):
            hit, above, spent = [], [], []
            for held, prior in zip(of, priors, strict=True):
                others = part_of(family, np.flatnonzero(~held))
                tasks = [task for target in TARGETS for task in replayed(others, prior, target, 1)]
                margin = float(MARGINS[needed(tasks, confidence)[0]])
                if name == "shipped prior":
                    margin = shipped.margin(target=0, confidence=confidence, trials=1).scale
                own = np.flatnonzero(held)
                for target in TARGETS:
                    rows, index, encodes = chosen(part_of(family, own), prior, target, margin, 1)
                    truth, bits = family.truth[own[rows]], size[own[rows]]
                    best = np.argmax(truth >= target, axis=1)
                    count = np.arange(len(rows))
                    hit += (truth[count, index] >= target).tolist()
                    above += np.expm1(bits[count, index] - bits[count, best]).tolist()
                    spent += encodes.tolist()
            print(
                f"  {confidence}: hit {np.mean(hit):.3f} of {len(hit)} tasks, "
                f"{100 * np.mean(above):+.1f} % above best, {np.mean(spent):.1f} encodes"
            )


if __name__ == "__main__":
    main()
