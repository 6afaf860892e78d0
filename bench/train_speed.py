"""Wall time of training every fold and seed, against a loop that trains one PyTorch model at a time.

    python bench/train_speed.py CORPUS [--rows 5640] [--folds 9] [--jobs 2] [--engine native] [--torch-epochs 40]

ADR-0303's problem on real rows: so many rows of the regressor's, evenly spaced; 9 grouped folds x 5 seeds and five
final fits; 20 -> 64 -> 64 -> 1, GELU, dropout 0.1, MSE, Adam 5e-4 with decay 1e-5, batch 32, 200 epochs. The loop
trains two members for five epochs on one core (the first is slow to start) and is scaled to all members and
epochs; ours runs whole, the kernel compiled before. PyTorch (`pip install torch==2.13.0`) is needed by this
script alone. Prints one JSON document.
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
        nn.Linear(inputs.shape[1], 64),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(64, 64),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(64, 1),
    )
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


def problem(corpus, n_rows, n_folds):
    """Rows of the corpus, the members to train on them, and the recipe."""
    from dataclasses import replace

    from vmaf_assay.corpus.store import load_corpus
    from vmaf_assay.promise.folds import grouped_folds
    from vmaf_assay.training.recipe import RECIPES, Member
    from vmaf_assay.training.rows import regressor_rows
    from vmaf_assay.training.run import FRAMES_PER_CELL

    rows = regressor_rows(load_corpus(corpus), frames_per_cell=FRAMES_PER_CELL)
    keep = np.linspace(0, len(rows.target) - 1, n_rows).astype(int)
    arrays = {name: getattr(rows, name)[keep] for name in ("features", "codec", "target")}
    group = [rows.group[i] for i in keep]
    rows = replace(rows, group=group, **arrays)
    members = [Member(seed, fold.train) for seed in range(5) for fold in grouped_folds(group, n_folds)]
    members += [Member(seed, np.arange(n_rows)) for seed in range(5)]
    return rows, members, RECIPES["adr-0303"]


def main():
    from vmaf_assay.training.train import ENGINES, n_trained_inputs, train_stacked

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rows", type=int, default=5640)
    parser.add_argument("--folds", type=int, default=9)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--engine", choices=ENGINES, default="native")
    parser.add_argument("--torch-epochs", type=int, default=40)
    parser.add_argument("--torch-members", type=int, default=2)
    args = parser.parse_args()
    rows, members, recipe = problem(args.corpus, args.rows, args.folds)
    if args.engine == "native":
        from vmaf_assay.training import native

        n_inputs = n_trained_inputs(rows.features, rows.codec)
        native.load(native.Shape.of(n_inputs, recipe.hidden, recipe.batch_size))
    load = os.getloadavg()[0]
    started, cpu = time.monotonic(), time.process_time()
    train_stacked(rows.features, rows.codec, rows.target, members, recipe, processes=args.jobs, engine=args.engine)
    stacked_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    some = members[: args.torch_members]
    loop_s = sum(torch_seconds(rows, member.train_rows, epochs=args.torch_epochs) for member in some)
    # A member takes as many steps as one with all rows; the loop is scaled by steps.
    loop_steps = sum(args.torch_epochs * -(-len(member.train_rows) // recipe.batch_size) for member in some)
    all_steps = recipe.n_steps(args.rows) * len(members)
    answer = {
        "n_rows": args.rows,
        "n_members": len(members),
        "steps_a_member": recipe.n_steps(args.rows),
        "engine": args.engine,
        "jobs": args.jobs,
        "train_s": round(stacked_s, 1),
        "train_cpu_s": round(cpu_s, 1),
        "torch_loop_s_scaled": round(loop_s / loop_steps * all_steps, 1),
        "torch_measured": f"{len(some)} members x {args.torch_epochs} epochs, one core",
        "ratio": round(loop_s / loop_steps * all_steps / stacked_s, 1),
        "load_before": round(load, 1),
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
