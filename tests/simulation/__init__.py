"""The whole system in one process, on virtual time and one seed: faults that are drawn, and books that must agree."""
