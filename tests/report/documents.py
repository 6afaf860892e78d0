"""What pages are made of: documents that need no encoder, a run and a registry with the worst names there are."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.crafted import held_out_predictions, make_run
from vmaf_assay.admission.judge import judge, write_verdict
from vmaf_assay.admission.lifecycle import rollback, sign_verdict
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.registry.signing import generate_key, load_private_key
from vmaf_assay.training.evidence import load_run

HOSTILE = (
    "<script>alert(1)</script>.mkv",
    "\"><img src=x onerror=alert(1)>'.mkv",
    "</title></script><!--.mkv",
    "x" * 300 + ".mkv",
    "\u202egnp.\u05e9\u05dc\u05d5\u05dd\u0645\u0631\u062d\u0628\u0627.mkv",
    "{{ 7 * 7 }}{% raw %}.mkv",
)
"""File names that try to leave their place: markup, quotes, 300 characters, right to left, template code."""


def tune_document(**changes: Any) -> dict[str, Any]:
    """A tune that met its target, with 60 frames at 25 a second; `changes` replace fields."""
    rates = np.arange(14, 43)
    mu = 100 / (1 + np.exp((rates - 46) / 5.0))
    frames = (93.6 + 2 * np.sin(np.arange(60) / 5)).round(3).tolist()
    document = {
        "source": "in.mkv",
        "encoder": "libx264",
        "preset": "medium",
        "target_vmaf": 93.0,
        "confidence": 0.95,
        "rate_value": 32.0,
        "mu": 94.268,
        "lower_bound": 93.128,
        "forecast_kbps": 812.4,
        "supported": True,
        "reachable": True,
        "margin": 1.143,
        "n_groups": 36,
        "trials": [{"rate_value": 33.0, "measured_vmaf": 92.751}],
        "encodes_spent": 4,
        "encode_argv": ["ffmpeg", "-i", "in.mkv", "out.mkv"],
        "output": "out.mkv",
        "measured_vmaf": 93.614,
        "kbps": 798.25,
        "reasons": ["margin 1.14 points, from 36 calibration groups"],
        "curve": [
            {
                "rate_value": float(r),
                "mu": float(m),
                "lower_bound": float(m) - 1.2,
                "kbps": 9000 * 0.9 ** float(r),
                "measured_vmaf": 92.751 if r == 33 else None,
            }
            for r, m in zip(rates, mu, strict=True)
        ],
        "probes": [{"encoder": "libx264", "preset": "medium", "rate_value": 30.0, "vmaf": 95.437, "kbps": 1012.5}],
        "frame_vmaf": frames,
        "frame_rate": "25/1",
        "n_frames": 60,
        "width": 640,
        "height": 360,
    }
    return document | changes


def compare_document(**changes: Any) -> dict[str, Any]:
    """A comparison of two encoders, the second cheaper and measured; `changes` replace fields."""
    contenders = []
    for encoder, factor, bd in (("libx264", 1.0, 0.0), ("libsvtav1", 0.6, -0.4)):
        curve = [dict(p, kbps=p["kbps"] * factor) for p in tune_document()["curve"]]
        shown = encoder == "libsvtav1"
        contenders.append(
            {
                "encoder": encoder,
                "preset": "8" if shown else "medium",
                "rate_value": 32.0,
                "mu": 94.268,
                "lower_bound": 93.128,
                "forecast_kbps": 812.4 * factor,
                "supported": True,
                "reachable": True,
                "promised": True,
                "met": True,
                "bd_rate": bd,
                "reasons": [],
                "curve": curve,
                "measured_vmaf": 93.77 if shown else None,
                "kbps": 477.0 if shown else None,
            }
        )
    document = {
        "source": "in.mkv",
        "target_vmaf": 93.0,
        "confidence": 0.95,
        "encodes_spent": 3,
        "encodes_cached": 0,
        "cheapest": {"encoder": "libsvtav1", "preset": "8"},
        "contenders": contenders,
    }
    return document | changes


def hostile_run(folder: Path, model_id: str, **changes: Any) -> Path:
    """A run that passes its gate, whose first groups and sources bear the names of `HOSTILE`."""
    groups = {f"g{number:02d}": name for number, name in enumerate(HOSTILE)}
    sources = {f"{group}-s0": name for group, name in groups.items()}
    table = held_out_predictions().with_columns(
        pl.col("fold", "group").replace(groups), pl.col("source").replace(sources)
    )
    return make_run(folder, model_id=model_id, predictions=table, **changes)


def acted_registry(folder: Path, model_id: str) -> Path:
    """A registry with a history: two promotions, then to and fro for hostile reasons; the last act is signed."""
    for number in (0, 1):
        run = hostile_run(
            folder / f"run{number}", model_id, weights_of=lambda seed, n=number: seed + 20 * n, corpus=str(number)
        )
        write_verdict(run, judge(load_run(run)))
        promote(load_run(run), folder / "registry", Who(by="ada@example.org", reason=HOSTILE[number]))
    for number, reason in enumerate(HOSTILE[2:]):
        rollback(folder / "registry", model_id, Who(by=reason[:200], reason=reason), to=1 + number % 2)
    generate_key(folder / "key")
    sign_verdict(folder / "registry", model_id, Who(keys=(load_private_key(folder / "key"),)))
    return folder / "registry"
