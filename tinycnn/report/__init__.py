"""The pictures of a run and the page that shows them: ``report.html``."""

from tinycnn.report.pictures import augmented_views, draw

__all__ = ["augmented_views", "draw"]
