"""The history of the `apps` schema."""
