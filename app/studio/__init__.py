"""The page to open: submit, watch, look. It shows what the API tells and can do nothing that the API cannot."""

from app.studio.pages import studio_pages

__all__ = ["studio_pages"]
