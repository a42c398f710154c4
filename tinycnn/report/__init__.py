"""The pictures of a run and the page that shows them: ``report.html``."""

from tinycnn.report.pictures import draw, seen

__all__ = ["draw", "seen"]
