"""The story of an upgrade, on a stack that is deployed."""
