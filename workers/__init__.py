"""The Celery runner: delivery and fleet-wide limits around `pipeline.pages.process`, without stage logic."""
