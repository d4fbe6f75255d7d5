"""The order service: the one writer of what an order is."""
