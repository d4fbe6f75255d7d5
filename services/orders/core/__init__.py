"""The rules of an order: `decide(order, command, ctx) -> events | Refusal`, `evolve(order, event, at) -> order`.

Plain functions: no I/O, no clock, no randomness. Whatever an order says is computed from the fold of its events.
"""
