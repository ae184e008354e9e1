"""The dashboards for Grafana: made here, and checked with Grafana's own types."""
