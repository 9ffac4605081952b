"""How an instance is served: gunicorn configuration, worker class, admin socket."""
