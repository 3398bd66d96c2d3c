"""Benchmarks of audit_schema against other ways to audit: `python -m benchmarks`."""
