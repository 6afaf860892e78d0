"""Write the held-out bitrates that bounds are calibrated on, from the corpus and the shipped forecasts' sidecars.

PYTHONPATH=src python scripts/write_bitrate_calibration.py CORPUS
"""

import sys
from pathlib import Path

import numpy as np

from vmaf_assay.corpus.store import Corpus, load_corpus
from vmaf_assay.media.files import canonical_json
from vmaf_assay.model.bitrate import held_out_residuals, rows_by_key
from vmaf_assay.model.sidecar import ProbeSpec, Sidecar, probes_read
from vmaf_assay.promise.bitrate import NAME, BitrateCalibration, Curves, SourceResiduals, bitrate_digest
from vmaf_assay.records import Measurand
from vmaf_assay.registry.manifest import ensemble_of
from vmaf_assay.registry.store import load_verified, read_registry
from vmaf_assay.training.rows import forecast_targets

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vmaf_assay"
DECIMALS = 3
"""Of residuals: a tenth of a percent of a bitrate, a fiftieth of its roughness."""


def curves_of(corpus: Corpus, sidecar: Sidecar) -> Curves:
    """Residuals of every encode that a forecast is made for, each by a model fitted without its group."""
    assert sidecar.bitrate is not None
    assert sidecar.corpus_digest == corpus.digest
    answers = Measurand.parse(sidecar.answers)
    rows = forecast_targets(corpus, answers)
    encoders, presets, sources, groups = (
        rows[name].to_list() for name in ("encoder", "preset", "source", "group")
    )
    cells = {cell.key: cell for cell in corpus.cells}
    by_setting = {
        (c.source, c.encoder, c.preset, c.rate_value, Measurand.parse(c.measurand).bit_depth): c.kbps
        for c in corpus.cells
    }

    def kbps_of(source: str, probe: ProbeSpec) -> float:
        return by_setting[source, probe.encoder, probe.preset, probe.rate_value, probe.bit_depth]

    probes = np.array(
        [
            [kbps_of(source, sidecar.probes[index]) for index in probes_read(sidecar.probes, encoder)]
            for source, encoder in zip(sources, encoders, strict=True)
        ]
    )
    rates = rows["rate_value"].to_numpy()
    kbps = np.array([cells[key].kbps for key in rows["cell"]])
    residuals = held_out_residuals(encoders, presets, rates, probes, kbps, groups)
    curves: Curves = {}
    for key, index in rows_by_key(encoders, presets).items():
        named: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for row in index.tolist():
            point = float(rates[row]), round(float(residuals[row]), DECIMALS)
            named.setdefault((groups[row], sources[row]), []).append(point)
        curves[key] = [
            SourceResiduals(
                group=group,
                source=source,
                rate_values=[rate for rate, _ in sorted(points)],
                residuals=[residual for _, residual in sorted(points)],
            )
            for (group, source), points in sorted(named.items())
        ]
    return curves


def made(measured: Corpus) -> bytes:
    """The file's bytes, of every forecast in the shipped registry."""
    models = dict[str, Curves]()
    for row in read_registry(PACKAGE / "models").rows:
        ensemble = ensemble_of(row.id)
        if row.id != f"{ensemble}_mean":
            continue
        sidecar = load_verified(PACKAGE / "models", ensemble).ensemble.sidecar
        if sidecar.bitrate is not None:
            models[bitrate_digest(sidecar.bitrate)] = curves_of(measured, sidecar)
    file = BitrateCalibration(corpus_digest=measured.digest, models=dict(sorted(models.items())))
    return canonical_json(file.model_dump(mode="json"))


if __name__ == "__main__":
    data = made(load_corpus(Path(sys.argv[1])))
    (PACKAGE / "promise" / NAME).write_bytes(data)
    sys.stdout.write(f"{NAME}: {len(data)} bytes\n")
