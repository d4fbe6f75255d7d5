"""Chaos on real servers: faults under load, and an auditor that believes only its own journal."""
