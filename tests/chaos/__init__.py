"""Races on real engines: somebody else acts at a random moment of a removal, and what is lost is counted."""
