"""The channel that wakes web instances: its name and its publisher."""

from app.utils.notification_service.channel import NOTIFICATION_CHANNEL
from app.utils.notification_service.publisher import apublish_task_notification, publish_task_notification

__all__ = ["NOTIFICATION_CHANNEL", "apublish_task_notification", "publish_task_notification"]
