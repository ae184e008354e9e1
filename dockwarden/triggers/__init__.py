"""Reasons to look now: engine events and schedules, coalesced in one queue."""
