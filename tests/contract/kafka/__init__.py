"""What the services rely on of Kafka and of aiokafka: one suite for the real ones and for those in memory."""
