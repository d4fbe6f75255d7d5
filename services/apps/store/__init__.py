"""All SQL of the apps service."""
