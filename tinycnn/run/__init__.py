"""One run of ``tinycnn train``: options, folder, results, progress."""
