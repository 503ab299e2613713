"""The Grafana dashboard *Plant overview*, made by code: `python -m deploy.grafana` writes its JSON."""
