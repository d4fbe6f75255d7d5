"""The history of the `sandbox` schema."""
