"""The acquirer's rules."""
