"""A load in whose midst an act commits is not refused: it is the old ensemble or the new one."""

import shutil
import threading

import pytest

from tests.crafted import FR
from vmaf_assay.admission import lifecycle
from vmaf_assay.admission.promotion import Who, promote
from vmaf_assay.errors import IntegrityError
from vmaf_assay.registry import files, store
from vmaf_assay.registry.store import load_verified
from vmaf_assay.training.evidence import load_run


def acting_before(read: int, monkeypatch, act) -> list[int]:
    """From now on `act` is done, once, before the `read`-th file of a load is read; counts the reads."""
    counted = [0]
    plain = files.read_plain

    def reading(path, **options):
        counted[0] += 1
        if counted[0] == read:
            monkeypatch.setattr(files, "read_plain", plain)  # the act reads files too
            act()
            monkeypatch.setattr(files, "read_plain", reading)
        return plain(path, **options)

    monkeypatch.setattr(files, "read_plain", reading)
    return counted


ACTS = {
    "promote": lambda registry, run: promote(load_run(run), registry),
    "rollback": lambda registry, _run: lifecycle.rollback(registry, FR, Who(reason="a race")),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("read", [1, 2, 3, 4, 6, 9, 14, 18])
def test_an_act_in_the_midst_of_a_load(promoted, runs, tmp_path, monkeypatch, act, read):
    """Whichever file is read when the act is done: the load gives the verdict before the act or after it."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    counted = acting_before(read, monkeypatch, lambda: ACTS[act](registry, runs["first"]))
    assert load_verified(registry, FR).verdict.sequence in (2, 3)
    assert counted[0] >= read
    monkeypatch.undo()
    assert load_verified(registry, FR).verdict.sequence == 3


def test_what_is_wrong_stays_refused(promoted, tmp_path):
    """A damaged model is refused at once, as nothing changed meanwhile; a registry that never rests, at last."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    model = next(registry.glob(f"{FR}_seed0.*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="does not match its digest"):
        load_verified(registry, FR)
    tries = []

    def busy(folder, *rest):
        tries.append(folder)
        (folder / ".busy").write_text(str(len(tries)))
        raise IntegrityError("refused", next_step="nothing")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "_load_once", busy)
        with pytest.raises(IntegrityError, match="refused"):
            load_verified(registry, FR)
    assert 2 <= len(tries) <= store._TRIES


@pytest.mark.slow
def test_loads_beside_acts(promoted, tmp_path):
    """Rollbacks one after another in a thread, loads in another: none is refused."""
    registry = shutil.copytree(promoted, tmp_path / "registry")
    over = threading.Event()

    def act() -> None:
        for _ in range(20):
            lifecycle.revalidate(registry, FR, Who(reason="a race"))
        over.set()

    thread = threading.Thread(target=act)
    thread.start()
    loads = 0
    while not over.is_set():
        load_verified(registry, FR)
        loads += 1
    thread.join()
    assert loads > 5
