"""The fleet's use of Redis: connection, queues, leases, limits, heartbeats."""
