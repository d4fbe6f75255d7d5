"""Messages between services: one module per owner. The wire type of each is a written constant that never changes."""
