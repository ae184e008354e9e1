"""The order of the stages, judging, enforcing, and the upkeep of what both stand on."""
