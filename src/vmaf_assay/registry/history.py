"""Verdicts by sequence number: an unbroken chain of digests from the one that rows name back to the first.

A promotion writes the numbered verdict before the commit (the rename of `registry.json`), and the plain copy
`<ensemble>_seed_flip_PROMOTE.json` after it; the very first promotion, which replaces nothing, writes the plain
copy before. So at every moment the plain copy exists and is the verdict that rows name or the one before it.
Signatures and rollback will rest on the same chain: a rollback is a new number.
"""

from pathlib import Path

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import sha256_bytes
from vmaf_assay.registry.files import RESTORE, content_name, parse, read_bound, read_file, verdict_name
from vmaf_assay.registry.manifest import FileRef
from vmaf_assay.registry.verdict import Verdict


def numbered(folder: Path, ensemble: str) -> dict[int, Path]:
    """Numbered verdicts of an ensemble that are in the folder, whether or not anything rests on them."""
    found = {}
    for path in folder.glob(verdict_name(ensemble).removesuffix("json") + "*.json"):
        middle = path.name.split(".")[-2]
        if middle.isdecimal() and path.name == verdict_name(ensemble, int(middle)):
            found[int(middle)] = path
    return found


def chain(folder: Path, ensemble: str, ref: FileRef) -> list[Verdict]:
    """The verdicts of an ensemble from the one `ref` names back to the first.

    Raises:
      IntegrityError: one is missing, altered or out of sequence, or the plain copy is neither of the last two.
    """
    if ref.file != verdict_name(ensemble):
        raise IntegrityError(f"a row of {ensemble} names the verdict {ref.file}", next_step=RESTORE)
    by_digest = {
        sha256_bytes(read_file(folder, path.name)): path.name for path in numbered(folder, ensemble).values()
    }
    verdicts: list[Verdict] = []
    wanted: str | None = ref.sha256
    while wanted is not None:
        name = by_digest.pop(wanted, None)
        if name is None:
            raise IntegrityError(
                f"{folder} holds no verdict on {ensemble} with digest {wanted[:12]}", next_step=RESTORE
            )
        verdict = parse(Verdict, read_bound(folder, name, wanted), folder / name)
        if (
            name != verdict_name(ensemble, verdict.sequence)
            or verdict.ensemble != ensemble
            or (verdicts and verdict.sequence >= verdicts[-1].sequence)
        ):
            raise IntegrityError(f"{folder / name} is out of sequence", next_step=RESTORE)
        verdicts.append(verdict)
        wanted = verdict.previous_verdict_sha256
    plain = sha256_bytes(read_file(folder, ref.file))
    if plain not in (ref.sha256, verdicts[0].previous_verdict_sha256):
        raise IntegrityError(f"{folder / ref.file} is not the verdict that the rows name", next_step=RESTORE)
    return verdicts


def predictions_name(verdict: Verdict) -> str:
    """Where a verdict's held-out predictions are kept."""
    return content_name(f"{verdict.ensemble}_predictions", verdict.predictions_sha256, "parquet")


def bound_files(verdict: Verdict) -> dict[str, str]:
    """Digest of every file a verdict rests on, by name."""
    models = {content_name(row_id, digest, "onnx"): digest for row_id, digest in verdict.members.items()}
    sidecars = {content_name(row_id, digest, "json"): digest for row_id, digest in verdict.sidecars.items()}
    return models | sidecars | {predictions_name(verdict): verdict.predictions_sha256}
