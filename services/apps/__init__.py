"""The apps service: merchants and their environments, and every credential that may call."""
