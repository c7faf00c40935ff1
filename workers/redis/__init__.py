"""What the fleet keeps in Redis: connection, queues, leases, limits, heartbeats."""
