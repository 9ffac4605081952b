"""Runs Vuls in containers for the workers, over a Unix socket; the only program that talks to the Docker engine."""
