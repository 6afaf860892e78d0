"""From one probe to a promised encode."""
