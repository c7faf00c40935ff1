"""Generator of `mappings/kibana/`: a developer's tool, not part of the wheel. `make kibana` runs it."""
