"""What a user who only tunes has to load."""

import json
import subprocess
import sys

LOADED = """
import json, sys
import vmaf_assay.tune.run
print(json.dumps(sorted(name for name in sys.modules if name.startswith("vmaf_assay."))))
"""
MOST_MODULES = 62
"""Of 220, the packages included (docs/adr/0420-the-house.md)."""


def test_tuning_loads_nothing_of_the_other_wing():
    """`vmaf_assay.tune.run` loads no corpus, training or admission, and few modules in all."""
    printed = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout
    loaded = json.loads(printed)
    assert "vmaf_assay.tune.run" in loaded
    other_wing = ("corpus", "training", "admission", "report", "export", "api", "cli")
    assert [name for name in loaded if name.split(".")[1] in other_wing] == []
    assert len(loaded) <= MOST_MODULES, loaded
