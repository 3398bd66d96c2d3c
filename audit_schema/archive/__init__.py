"""Archives: copies of closed partitions as Parquet files, on a disk or in object storage.

work runs, verifies and restores them, events turns text of COPY into Parquet and back, storage
reads and writes files. Needs `pip install 'audit-schema[archive]'`.
"""
