"""Verdicts by sequence number: an unbroken chain of digests from the verdict in force back to the first.

A promotion writes the numbered verdict before the commit (the rename of `registry.json`), and the plain copy
`<ensemble>_seed_flip_PROMOTE.json` after it. The first promotion replaces nothing and writes the copy before.
So at every moment the plain copy exists and is the verdict that rows name or the one before it.

Rollback, rejudging and supersedure are new numbers in the same chain; nothing is removed from it. Signatures lie
beside the numbered verdict they sign.
"""

import os
import re
from pathlib import Path

from vmaf_assay.errors import IntegrityError
from vmaf_assay.media.files import parse_record, sha256_bytes
from vmaf_assay.registry.files import RESTORE, content_name, parse, parse_bound, read_file, verdict_name
from vmaf_assay.registry.manifest import FileRef
from vmaf_assay.registry.verdict import ADMITTED_BY_ACT, Verdict

NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")
"""A verdict's number in its file name, at most `MAX_SEQUENCE`."""


def numbered(folder: Path, ensemble: str) -> dict[int, Path]:
    """Numbered verdicts of an ensemble in the folder, used or not."""
    found = {}
    head = verdict_name(ensemble).removesuffix("json")
    for name in os.listdir(folder):
        middle = name.removeprefix(head).removesuffix(".json")
        if NUMBER.fullmatch(middle):
            found[int(middle)] = folder / name
    return found


def check_numbers(folder: Path, ensemble: str, newest: int) -> None:
    """Refuse unexpected numbered verdicts; a killed act leaves at most the next number, complete.

    Args:
      folder: the registry.
      ensemble: whose verdicts.
      newest: number of the verdict in force; 0 without one.

    Raises:
      IntegrityError: a file is not a verdict on the ensemble with its number, or a lower number is missing.
    """
    remove = "remove it: no row uses it"
    for at, (number, path) in enumerate(
        sorted(one for one in numbered(folder, ensemble).items() if one[0] > newest)
    ):
        if number != newest + 1 + at:
            raise IntegrityError(f"{path} is out of sequence: the newest verdict is {newest}", next_step=remove)
        left = parse_record(Verdict, read_file(folder, path.name), where=str(path), next_step=remove)
        if (left.ensemble, left.sequence) != (ensemble, number):
            raise IntegrityError(f"{path} is not verdict {number} on {ensemble}", next_step=remove)


def chain(folder: Path, ensemble: str, ref: FileRef) -> list[Verdict]:
    """The verdicts of an ensemble from the one `ref` names back to the first.

    Raises:
      IntegrityError: one is missing, altered or out of sequence, or the plain copy is neither of the last two.
    """
    if ref.file != verdict_name(ensemble):
        raise IntegrityError(f"a row of {ensemble} names the verdict {ref.file}", next_step=RESTORE)
    files = {path.name: read_file(folder, path.name) for path in numbered(folder, ensemble).values()}
    by_digest = {sha256_bytes(data): name for name, data in files.items()}
    verdicts: list[Verdict] = []
    wanted: str | None = ref.sha256
    while wanted is not None:
        name = by_digest.pop(wanted, None)
        if name is None:
            raise IntegrityError(
                f"{folder} holds no verdict on {ensemble} with digest {wanted[:12]}", next_step=RESTORE
            )
        read = parse_bound if verdicts else parse
        verdict = read(Verdict, files[name], folder / name)
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
    _check_acts(folder, digests_of(verdicts, ref), verdicts)
    return verdicts


def digests_of(verdicts: list[Verdict], ref: FileRef) -> list[str]:
    """SHA-256 of the file of every verdict in a chain that begins at `ref`."""
    return [ref.sha256, *(str(verdict.previous_verdict_sha256) for verdict in verdicts[:-1])]


def _check_acts(folder: Path, digests: list[str], verdicts: list[Verdict]) -> None:
    """Check that a rollback admits exactly what its target admitted, and that only a supersedure ends service."""
    for at, verdict in enumerate(verdicts):
        where = folder / verdict_name(verdict.ensemble, verdict.sequence)
        kind = verdict.act.kind if verdict.act else "promote"
        if (kind == "supersede") != (verdict.verdict == "SUPERSEDED"):
            raise IntegrityError(f"{where} says {kind} and {verdict.verdict}", next_step=RESTORE)
        returns_to = verdict.act.returns_to if verdict.act else None
        if (kind == "rollback") != (returns_to is not None):
            raise IntegrityError(f"{where} is a {kind} that names a wrong verdict", next_step=RESTORE)
        if returns_to is None:
            continue
        earlier = dict(zip(digests[at + 1 :], verdicts[at + 1 :], strict=True))
        target = earlier.get(returns_to.sha256)
        if target is None or target.sequence != returns_to.sequence or not _admits_the_same(verdict, target):
            raise IntegrityError(f"{where} does not return to verdict {returns_to.sequence}", next_step=RESTORE)


def _admits_the_same(verdict: Verdict, target: Verdict) -> bool:
    return verdict.model_dump(exclude=ADMITTED_BY_ACT) == target.model_dump(exclude=ADMITTED_BY_ACT)


def origin(verdict: Verdict) -> int:
    """The number of the verdict that first admitted these models: for a rollback, that of its target."""
    returns_to = verdict.act.returns_to if verdict.act else None
    return returns_to.sequence if returns_to else verdict.sequence


def predictions_name(verdict: Verdict) -> str:
    """Where a verdict's held-out predictions are kept."""
    return content_name(f"{verdict.ensemble}_predictions", verdict.predictions_sha256, "parquet")


def tie_names(verdict: Verdict) -> tuple[str, str, str]:
    """Where a verdict's tie, the predictions of its shipped members, and their witness are kept.

    Raises:
      IntegrityError: the verdict has none.
    """
    if verdict.tie is None:
        raise IntegrityError(f"the verdict on {verdict.ensemble} has no tie", next_step="train and promote again")
    return (
        content_name(f"{verdict.ensemble}_tie", verdict.tie.tie_sha256, "json"),
        content_name(f"{verdict.ensemble}_shipped", verdict.tie.shipped_sha256, "parquet"),
        content_name(f"{verdict.ensemble}_witness", verdict.tie.witness_sha256, "npy"),
    )


def bound_files(verdict: Verdict) -> dict[str, str]:
    """Digest of every file that a verdict depends on, by name."""
    models = {content_name(row_id, digest, "onnx"): digest for row_id, digest in verdict.members.items()}
    sidecars = {content_name(row_id, digest, "json"): digest for row_id, digest in verdict.sidecars.items()}
    found = models | sidecars | {predictions_name(verdict): verdict.predictions_sha256}
    if verdict.tie is not None:
        digests = (verdict.tie.tie_sha256, verdict.tie.shipped_sha256, verdict.tie.witness_sha256)
        found |= dict(zip(tie_names(verdict), digests, strict=True))
    return found
