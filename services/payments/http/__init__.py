"""The HTTP face of payments: parse, call, answer. No rules, no SQL."""
