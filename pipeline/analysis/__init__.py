"""Reports that index nothing: inspect, estimate, evaluate, ask, review."""
