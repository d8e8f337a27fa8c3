"""Checks of one kind of thing each: generators of findings, and of how much is done."""
