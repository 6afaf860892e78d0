"""Documents of `assay tune --json` that need no encoder."""

from typing import Any

import numpy as np

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
        "source": "in.mkv", "encoder": "libx264", "preset": "medium", "target_vmaf": 93.0, "confidence": 0.95,
        "rate_value": 32.0, "mu": 94.268, "lower_bound": 93.128, "forecast_kbps": 812.4, "supported": True,
        "reachable": True, "margin": 1.143, "n_groups": 36,
        "trials": [{"rate_value": 33.0, "measured_vmaf": 92.751}],
        "encodes_spent": 4, "encode_argv": ["ffmpeg", "-i", "in.mkv", "out.mkv"], "output": "out.mkv",
        "measured_vmaf": 93.614, "kbps": 798.25, "reasons": ["margin 1.14 points, from 36 calibration groups"],
        "curve": [
            {"rate_value": float(r), "mu": float(m), "lower_bound": float(m) - 1.2, "kbps": 9000 * 0.9 ** float(r),
             "measured_vmaf": 92.751 if r == 33 else None}
            for r, m in zip(rates, mu, strict=True)
        ],
        "probes": [{"encoder": "libx264", "preset": "medium", "rate_value": 30.0, "vmaf": 95.437, "kbps": 1012.5}],
        "frame_vmaf": frames, "frame_rate": "25/1", "n_frames": 60, "width": 640, "height": 360,
    }  # fmt: skip
    return document | changes


def compare_document(**changes: Any) -> dict[str, Any]:
    """A comparison of two encoders, the second cheaper and measured; `changes` replace fields."""
    contenders = []
    for encoder, factor, bd in (("libx264", 1.0, 0.0), ("libsvtav1", 0.6, -0.4)):
        curve = [dict(p, kbps=p["kbps"] * factor) for p in tune_document()["curve"]]
        shown = encoder == "libsvtav1"
        contenders.append(
            {
                "encoder": encoder, "preset": "8" if shown else "medium", "rate_value": 32.0,
                "mu": 94.268, "lower_bound": 93.128, "forecast_kbps": 812.4 * factor, "supported": True,
                "reachable": True, "promised": True, "met": True, "bd_rate": bd, "reasons": [], "curve": curve,
                "measured_vmaf": 93.77 if shown else None, "kbps": 477.0 if shown else None,
            }
        )  # fmt: skip
    document = {
        "source": "in.mkv", "target_vmaf": 93.0, "confidence": 0.95, "encodes_spent": 3, "encodes_cached": 0,
        "cheapest": {"encoder": "libsvtav1", "preset": "8"}, "contenders": contenders,
    }  # fmt: skip
    return document | changes
