"""fal.ai: its queue, models, webhooks, files and platform API."""
