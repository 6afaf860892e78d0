"""One self-contained page of what was tuned, trained, promoted or compared."""
