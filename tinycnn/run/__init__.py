"""One training run as the command performs it: options, folder, results, progress."""
