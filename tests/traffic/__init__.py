"""Traffic for the stories: `python -m tests.traffic`."""
