"""What verification adds to a cold start: `load_verified` against opening the same ONNX file and believing it.

    python bench/load.py [--runs 15] [--registry DIR] [--json]

Every run is a fresh process that imports onnxruntime first. `open` is then the time to read the fused graph and
make a session of it, one thread; `load` the time of `load_verified`: registry, verdicts, sidecars, six models and
the held-out predictions hashed, the gate judged again, and the session made of the bytes that were hashed.
`import` is what importing the package for it takes on top of onnxruntime; `tune` and `predict` import it anyway.
Runs alternate, so that a slow minute hits both. Figures are medians; wall and processor time in ms.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ENSEMBLES = ("vmaf_forecast_ensemble_v1", "fr_regressor_v2_ensemble_v1")
MODELS = Path(__file__).parents[1] / "src" / "vmaf_assay" / "models"

BARE = """
import json, sys, time
import onnxruntime, numpy
began = time.perf_counter(), time.process_time()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
data = open(sys.argv[1], "rb").read()
onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
print(json.dumps({"open_ms": 1e3 * (time.perf_counter() - began[0]),
                  "open_cpu_ms": 1e3 * (time.process_time() - began[1])}))
"""

VERIFIED = """
import json, sys, time
from pathlib import Path
import onnxruntime, numpy
began = time.perf_counter(), time.process_time()
from vmaf_assay.registry.store import load_verified
imported = time.perf_counter(), time.process_time()
load_verified(Path(sys.argv[1]), sys.argv[2])
print(json.dumps({"import_ms": 1e3 * (imported[0] - began[0]), "import_cpu_ms": 1e3 * (imported[1] - began[1]),
                  "load_ms": 1e3 * (time.perf_counter() - imported[0]),
                  "load_cpu_ms": 1e3 * (time.process_time() - imported[1])}))
"""


def run(script: str, *args: str) -> dict[str, float]:
    """What a fresh process measures."""
    done = subprocess.run([sys.executable, "-c", script, *args], check=True, capture_output=True)
    return json.loads(done.stdout)


def measure(registry: Path, ensemble: str, runs: int) -> dict[str, float]:
    """Medians over `runs` alternating runs, and what verification adds."""
    rows = json.loads((registry / "registry.json").read_bytes())["rows"]
    onnx = next(row["onnx"] for row in rows if row["id"] == f"{ensemble}_mean")
    taken: dict[str, list[float]] = {}
    for _ in range(runs):
        measured = run(BARE, str(registry / onnx)) | run(VERIFIED, str(registry), ensemble)
        for name, value in measured.items():
            taken.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return medians | {
        "adds_ms": medians["load_ms"] - medians["open_ms"],
        "adds_cpu_ms": medians["load_cpu_ms"] - medians["open_cpu_ms"],
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--registry", type=Path, default=MODELS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {name: measure(arguments.registry, name, arguments.runs) for name in ENSEMBLES}
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print("| ensemble | open, unverified | verified load | adds | of it processor | import, once |")
    print("|---|---|---|---|---|---|")
    for name, r in results.items():
        print(
            f"| `{name}` | {r['open_ms']:.1f} ms | {r['load_ms']:.1f} ms | {r['adds_ms']:.1f} ms "
            f"| {r['adds_cpu_ms']:.1f} ms | {r['import_ms']:.0f} ms |"
        )


if __name__ == "__main__":
    main()
