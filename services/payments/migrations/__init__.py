"""The history of the `payments` schema."""
