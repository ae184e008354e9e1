"""The HTTP server: metrics, health, a status page and a read-only view as JSON. Nothing here changes anything."""
