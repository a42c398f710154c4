"""A page that recognises the digit you draw, and the JSON endpoint behind it (extra ``web``: Starlette and uvicorn).

A request passes through ``security`` (host names, headers, rate limit) → ``app`` (routes) → ``request_picture`` (bytes
to a picture) → ``predictions`` (the network, one request at a time) → JSON. ``static/`` holds the page: one HTML, one
CSS and one JavaScript file.
"""
