"""Model files and training states as safetensors files."""
