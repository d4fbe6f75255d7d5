"""Every documented route, and everybody who must be refused there."""
