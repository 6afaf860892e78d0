"""Options that spread work over processes and machines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from vmaf_assay.cli.options import RunOptions

if TYPE_CHECKING:
    from vmaf_assay.api import TitleFarm


@dataclass(frozen=True, slots=True)
class Farm:
    """Where many titles are tuned."""

    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Tune N sources at a time, in processes of this machine.")
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Tune on the workers of this Dask scheduler.")
    ] = None

    @property
    def asked(self) -> bool:
        """Whether a farm is asked for."""
        return self.workers is not None or self.scheduler is not None

    def of(self, run: RunOptions) -> "TitleFarm | None":
        """As the Python interface takes it."""
        from vmaf_assay.api import TitleFarm

        return TitleFarm(self.workers, self.scheduler, run.registry, run.trust_policy) if self.asked else None
