"""The name of the channel."""

NOTIFICATION_CHANNEL = "task_notifications"
