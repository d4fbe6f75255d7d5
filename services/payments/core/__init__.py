"""The rules about channel events: which count, which order they are for, and what is done with money that fits none.

Plain functions: no I/O, no clock, no randomness.
"""
