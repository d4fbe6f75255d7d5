"""Real PostgreSQL and real Apache Kafka on one machine, from packages: no container engine, no system install."""
