"""MQTT → Kafka: the gateway and its parts."""
