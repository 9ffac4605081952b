"""What one client, one user and one address may take of an instance."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an instance; the settings of the same names explain them."""

    connections_per_user: int = 50
    connections_per_address: int = 1000
    messages_per_window: int = 60
    message_window: float = 10.0
    max_message: int = 4096
    ring_size: int = 2000
