"""Hostile input at volume, on real servers and service processes: mutated Kafka messages, generated HTTP requests."""
