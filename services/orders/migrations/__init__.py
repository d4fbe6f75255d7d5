"""The history of the `orders` schema."""
