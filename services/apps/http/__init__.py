"""The HTTP face of apps: parse, call, answer. No rules, no SQL."""
