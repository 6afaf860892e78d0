"""A title by scene: each encoded once at a rate value of its own, scored as it is encoded, and joined."""
