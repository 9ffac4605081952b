"""`vuls-scheduler`: fires schedules, sends jobs, ends runs that nobody works on. Many may run, one is active."""

from app.scheduler.main import main

__all__ = ["main"]
