"""Real servers for tests: Apache Kafka, Mosquitto, Prometheus, each as a child process on loopback."""
