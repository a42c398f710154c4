"""Convolutions whose filters see a part of the channels, or pixels with gaps between them; ``ops/conv2d.py`` picks."""
