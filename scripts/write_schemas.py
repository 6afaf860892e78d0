"""Write the JSON Schemas shipped in the package from the records that read and write the files."""

from pathlib import Path

from vmaf_assay.media.files import write_json_atomic
from vmaf_assay.model.sidecar import Sidecar
from vmaf_assay.registry.manifest import Registry
from vmaf_assay.registry.signing import Envelope
from vmaf_assay.registry.tie import Tie
from vmaf_assay.registry.trust import TrustPolicy
from vmaf_assay.registry.verdict import Verdict
from vmaf_assay.training.schema import CalibrationFile, LosoFile, RunFile
from vmaf_assay.tune.arrivals import SeenRecord
from vmaf_assay.tune.batch import TuneRecord

FOLDER = Path(__file__).parents[1] / "src" / "vmaf_assay" / "schemas"
RECORDS = {
    "calibration": CalibrationFile,
    "loso": LosoFile,
    "registry": Registry,
    "run": RunFile,
    "sidecar": Sidecar,
    "signatures": Envelope,
    "trust-policy": TrustPolicy,
    "tie": Tie,
    "tune_record": TuneRecord,
    "verdict": Verdict,
    "watch_record": SeenRecord,
}

if __name__ == "__main__":
    for name, record in RECORDS.items():
        write_json_atomic(FOLDER / f"{name}.schema.json", record.model_json_schema())
