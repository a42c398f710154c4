"""A page that recognises the digit you draw, and the JSON endpoint behind it (extra ``web``: Starlette and uvicorn).

A request takes this way: ``guard`` (who asks, how often wrongly) → ``app`` (routes) → ``intake`` (bytes to a picture)
→ ``answers`` (the network, one at a time) → JSON. ``static/`` is the page: one HTML, one CSS and one JavaScript file.
"""
