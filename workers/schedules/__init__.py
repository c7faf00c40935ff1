"""Scheduled work: beat, run leases, runs, actions."""
