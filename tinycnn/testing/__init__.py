"""For authors of operations and backends: gradient cases, and the loop oracle that judges every kernel."""
