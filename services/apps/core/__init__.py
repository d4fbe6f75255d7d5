"""The rules about merchants and credentials: what a key may hold, when it ends, what its grant says.

Plain functions: no I/O, no clock, no randomness.
"""
