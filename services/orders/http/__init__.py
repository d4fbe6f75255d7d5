"""The HTTP face of orders: parse, call, answer. No rules, no SQL."""
