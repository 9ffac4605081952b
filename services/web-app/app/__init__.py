"""Vuls Live: the web application, the scheduler and the Celery worker."""
