"""What commands do by themselves, without the daemon: a look, plans, undo and reset."""
