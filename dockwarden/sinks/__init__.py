"""Where a report goes: a sink each for the log, the ledger, notifications, and the board that the web server reads."""
