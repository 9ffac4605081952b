"""PostgreSQL: models, engine and queries. Functions take a synchronous `Session`; async callers use `run_sync`."""
