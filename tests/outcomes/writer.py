"""A process that records outcomes, and prints the number of each after it was recorded."""

import sys
from pathlib import Path

from tests.outcomes.made import outcome
from vmaf_assay.outcomes.store import OutcomeStore

if __name__ == "__main__":
    first = int(sys.argv[2])
    with OutcomeStore(Path(sys.argv[1])) as store:
        for number in range(first, first + int(sys.argv[3])):
            store.add([outcome(number)])
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
