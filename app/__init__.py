"""Darkroom: image generation on fal.ai, made dependable. Start reading at `app/README.md`."""

__version__ = "0.1.0"
