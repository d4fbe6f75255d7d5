"""`throughline reconcile`: the sandbox's ledger against the orders, whole.

The orders are read by the public API, the ledger by the sandbox's own. Neither side is kept in memory, so that millions
of movements are compared as well.
"""
