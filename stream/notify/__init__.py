"""From the alerts topic to people: signed webhooks out of a durable outbox."""
