"""A page that recognises the digit you draw, one for pictures, and the JSON endpoint behind them (extra ``web``).

A request passes through ``security`` (host names, headers, rate limit) → ``app`` (routes) → ``request_picture`` (bytes
to a picture) → ``predictions`` or, for whole pictures, ``picture_predictions`` (the network, one request at a time) →
JSON. ``static/`` holds the pages. The extra brings Starlette and uvicorn.
"""
