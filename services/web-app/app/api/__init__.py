"""The HTTP and WebSocket edge: routes, sessions, request checks. No SQL."""
