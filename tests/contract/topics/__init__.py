"""Who makes the topics of apps: one suite for Kafka's own admin API and for Strimzi, on a real broker."""
