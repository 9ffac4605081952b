"""Celery: the application object and the scan task."""
