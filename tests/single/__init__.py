"""Tests of the deployment on one host of 2 GiB."""
