"""What capture costs: CPU, WAL and bytes of each change, measured against tables without it."""
