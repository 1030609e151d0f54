"""The reading edition: the course as pages that need neither scripts nor a network, and slides.

Made with nbconvert's Markdown and templates of our own: Jupyter Book 2 needs Node and its
theme from a network, and leaves the mathematics to scripts.
"""

from scl.course.site.pages import build_site
from scl.course.site.slides import build_slides

__all__ = ["build_site", "build_slides"]
