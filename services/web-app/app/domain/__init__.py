"""Pure rules without I/O: due times, verdicts, severities, permissions."""
