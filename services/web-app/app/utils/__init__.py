"""The notification channel: publisher and subscriber."""
