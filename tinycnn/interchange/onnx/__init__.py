"""ONNX files: ``importer.py`` reads them, ``exporter.py`` writes them."""
