"""From Kafka to state, metrics and alerts."""
