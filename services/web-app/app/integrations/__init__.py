"""What this system talks to beside its own database: the executor, Vuls result files."""
