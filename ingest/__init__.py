"""From MQTT to Kafka: everything that happens to a message before it is a row in the log."""
