"""The HTTP face that every service has in common: one envelope, one form of problem, one set of headers."""
