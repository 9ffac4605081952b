"""Tests of the deployment that inventories/production.example describes."""
