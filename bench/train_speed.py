"""Wall time of the stacked program against a loop that trains one PyTorch model at a time, same rows, same recipe.

    python bench/train_speed.py CORPUS [--jobs 2] [--torch-epochs 2] [--torch-members 1]

The recipe is ADR-0303's (20 -> 64 -> 64 -> 1, GELU, dropout 0.1, MSE, Adam 5e-4 with decay 1e-5, batch 32, 200
epochs), the rows those of the shipped regressor: every group x seed, and the final fits. The loop trains a few
members for a few epochs, on one core, and is scaled to all members and epochs; the stacked program runs whole.
PyTorch is needed by this script alone. Prints one JSON document.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np


def torch_seconds(rows, member_rows, *, epochs, batch_size=32):
    """Seconds to train one member for `epochs` with the reference system's loop."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = rows.features[member_rows]
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    inputs = torch.from_numpy(np.concatenate([scaled, rows.codec[member_rows]], axis=1).astype(np.float32))
    target = torch.from_numpy(rows.target[member_rows])
    net = nn.Sequential(
        nn.Linear(inputs.shape[1], 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1),
        nn.Linear(64, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4, weight_decay=1e-5)
    started = time.monotonic()
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(target))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(inputs[batch]).squeeze(-1), target[batch])
            loss.backward()
            optimizer.step()
    return time.monotonic() - started


def main():
    from vmaf_assay.corpus.store import load_corpus
    from vmaf_assay.evaluate.folds import leave_one_group_out
    from vmaf_assay.model.features import regressor_rows
    from vmaf_assay.model.recipe import RECIPES, Member
    from vmaf_assay.model.train import train_stacked
    from vmaf_assay.runs.build import FRAMES_PER_CELL

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--torch-epochs", type=int, default=2)
    parser.add_argument("--torch-members", type=int, default=2)
    args = parser.parse_args()
    rows = regressor_rows(load_corpus(args.corpus), frames_per_cell=FRAMES_PER_CELL)
    folds = leave_one_group_out(rows.group)
    members = [Member(seed, fold.train) for seed in range(5) for fold in folds]
    members += [Member(seed, np.arange(len(rows.target))) for seed in range(5)]
    recipe = RECIPES["adr-0303"]
    started = time.monotonic()
    train_stacked(rows.features, rows.codec, rows.target, members, recipe, processes=args.jobs)
    stacked_s = time.monotonic() - started
    some = members[: args.torch_members]
    loop_s = sum(torch_seconds(rows, member.train_rows, epochs=args.torch_epochs) for member in some)
    per_member_s = loop_s / len(some) / args.torch_epochs * recipe.epochs
    print(
        json.dumps(
            {
                "n_rows": len(rows.target),
                "n_members": len(members),
                "epochs": recipe.epochs,
                "jobs": args.jobs,
                "stacked_s": round(stacked_s, 1),
                "torch_loop_s_scaled": round(per_member_s * len(members), 1),
                "torch_measured": f"{len(some)} members x {args.torch_epochs} epochs, one core",
                "ratio": round(per_member_s * len(members) / stacked_s, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
