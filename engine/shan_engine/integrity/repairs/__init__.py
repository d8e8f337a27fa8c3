"""Repairs of one kind of thing each, from what a check found."""
