"""One suite for PostgreSQL and for the simulation's: what holds for the stores holds on both."""
