"""PostgreSQL: models, engine and queries. Every function takes a synchronous `Session`; async callers use `run_sync`."""
