"""The Celery runner's home: delivery and fleet-wide limits around `pipeline.ranges.process_range`, no stage logic."""
