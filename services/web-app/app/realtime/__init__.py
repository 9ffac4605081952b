"""Frames, connected clients, fan-out and replay."""
