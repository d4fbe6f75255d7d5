"""PostgreSQL in memory, as far as the services' statements ask for it.

The seam is the statement: each one that the services run is known here by its text, with what it means; one that is
not known fails. What holds between statements is made once, in `engine`: transactions at READ COMMITTED, row locks and
their queues, deadlocks, unique keys, advisory locks, sessions that end. `tests/contract/stores` runs the same checks
against this and the real server.
"""
