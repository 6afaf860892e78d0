"""From a corpus to a run: rows, engines, the training run, and its evidence."""
