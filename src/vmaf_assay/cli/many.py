"""Outcomes of many sources: one line each, then a summary."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmaf_assay.api import Batch, ItemResult, TuneResult


class Lines:
    """Prints outcomes as they come, and counts them."""

    def __init__(self, *, as_json: bool, total: int | None = None) -> None:
        """How to print, and how many sources there are, if that is known."""
        self._as_json, self._total = as_json, total
        self._counts = {"done": 0, "skipped": 0, "failed": 0, "met": 0, "encodes_spent": 0}
        self._seen = 0
        self.code = 0
        """The highest exit code so far."""

    def say(self, outcome: "ItemResult") -> None:
        """Print one outcome."""
        from vmaf_assay.cli import render

        own = exit_code_of(outcome)
        self._seen += 1
        self.code = max(self.code, own)
        self._counts[outcome.status] += 1
        self._counts["met"] += outcome.met
        self._counts["encodes_spent"] += outcome.result.encodes_spent if outcome.result else 0
        if self._as_json:
            render.emit_line(outcome.document | {"status": outcome.status, "exit_code": own})
        else:
            of = "" if self._total is None else f"/{self._total}"
            render.say(f"[{self._seen}{of}] {outcome.item.source.name}: {_line(outcome)}")

    def summary(self) -> int:
        """Print the summary, and return the highest exit code."""
        from vmaf_assay.cli import render

        counts, total = self._counts, self._seen if self._total is None else self._total
        if self._as_json:
            render.emit_line({"summary": counts | {"sources": total, "exit_code": self.code}})
        else:
            missed = total - counts["met"] - counts["failed"]
            render.say(
                f"{total} sources: {counts['met']} met, {missed} not met, "
                f"{counts['failed']} failed; {counts['skipped']} were finished before; "
                f"{counts['encodes_spent']} encodes spent"
            )
        return self.code


def say_outcomes(batch: "Batch", *, as_json: bool) -> int:
    """Print each outcome, then a summary; returns the highest exit code."""
    lines = Lines(as_json=as_json, total=batch.total)
    for outcome in batch.outcomes:
        lines.say(outcome)
    return lines.summary()


def exit_code_of(outcome: "ItemResult") -> int:
    """The exit code of one source."""
    from vmaf_assay.cli import main
    from vmaf_assay.errors import AssayError

    if outcome.problem is not None:
        return main.exit_code(outcome.problem) if isinstance(outcome.problem, AssayError) else 3
    return 0 if outcome.met else 1


def _line(outcome: "ItemResult") -> str:
    if outcome.problem is not None:
        return f"error: {outcome.problem}"
    if outcome.result is not None:
        return answer(outcome.result)
    kept = outcome.document
    return f"finished before: {kept['output']}, {kept['encoder']} {kept['preset']} at {kept['rate_value']:g}"


def answer(result: "TuneResult") -> str:
    """The line that answers the question, with the output and the encodes spent."""
    spent = f"{result.encodes_spent} encodes spent"
    if result.output is None:
        advice = "; add -o OUT to encode" if result.met else "; nothing encoded"
        return f"{result.answer()}; {spent}{advice}"
    unmeasured = "" if result.measured_vmaf is not None else ", not measured (add --verify)"
    return f"{result.answer()}; {result.output}, {result.kbps:.0f} kbps{unmeasured}, {spent}"
