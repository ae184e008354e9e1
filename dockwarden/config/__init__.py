"""What this process was told: settings with their places, secret files, and the strict reader of YAML."""
