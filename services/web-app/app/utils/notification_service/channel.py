"""The name of the channel, and of the messages that only show that it works."""

NOTIFICATION_CHANNEL = "task_notifications"
HEARTBEAT = "heartbeat"
