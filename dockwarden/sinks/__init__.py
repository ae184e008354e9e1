"""Where a report goes: log lines and the ledger."""
