"""Reading and verifying a registry: rows, verdicts, signatures and trust."""
