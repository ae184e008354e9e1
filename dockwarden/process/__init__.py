"""Being a daemon: signals and threads, the service manager, the lock on the state folder, the log."""
