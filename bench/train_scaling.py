"""Time and memory of training as rows and members grow.

    python bench/train_scaling.py CORPUS [--rows 5640,50000,500000] [--members 2,4] [--steps 20000]

The corpus's regressor rows, repeated with a little noise to so many; every member takes the same number of steps,
so that what grows with rows is what should not: time a step, and memory beyond the rows themselves. Each case runs
in a process of its own, whose peak resident size is taken.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from dataclasses import replace
from pathlib import Path


def case(corpus, n_rows, n_members, steps, jobs, answers):
    import numpy as np

    from vmaf_assay.corpus.store import load_corpus
    from vmaf_assay.training import native
    from vmaf_assay.training.recipe import RECIPES, Member
    from vmaf_assay.training.rows import regressor_rows
    from vmaf_assay.training.train import train_stacked

    rows = regressor_rows(load_corpus(corpus), frames_per_cell=4)
    again = np.arange(n_rows) % len(rows.target)
    noise = np.random.default_rng(0).normal(0, 1e-3, (n_rows, rows.features.shape[1])).astype(np.float32)
    features, codec, target = rows.features[again] + noise, rows.codec[again], rows.target[again]
    del rows
    recipe = replace(RECIPES["adr-0303"], epochs=10**6, max_steps=steps)
    native.load(native.Shape.of(features.shape[1] + codec.shape[1], recipe.hidden, recipe.batch_size))
    members = [Member(seed, np.arange(n_rows)) for seed in range(n_members)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.monotonic(), time.process_time()
    train_stacked(features, codec, target, members, recipe, processes=jobs)
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put(
        {
            "rows": n_rows,
            "members": n_members,
            "steps": steps,
            "wall_s": round(wall_s, 2),
            "cpu_us_a_step": round(cpu_s / steps / n_members * 1e6, 2),
            "table_mb": round((features.nbytes + codec.nbytes + target.nbytes) / 1e6, 1),
            "peak_mb": round(peak / 1024, 1),
            "training_added_mb": round((peak - before) / 1024, 1),
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rows", default="5640,50000,500000")
    parser.add_argument("--members", default="2,4")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for n_rows in map(int, args.rows.split(",")):
        for n_members in map(int, args.members.split(",")):
            answers = context.Queue()
            given = (args.corpus, n_rows, n_members, args.steps, args.jobs, answers)
            child = context.Process(target=case, args=given)
            child.start()
            print(json.dumps(answers.get()), flush=True)
            child.join()


if __name__ == "__main__":
    main()
