-- What is wrong with the capture of attached tables, and how to mend it: the table is gone or
-- became a partition of another, it inherits by now and yet is captured by statement, a trigger of
-- it or of a partition is missing, disabled or altered, a key column was renamed or dropped, the
-- key is no longer one (the name of its column may by now be that of another). Nested loops are
-- off, as in audit._refresh_tracked_tables().
CREATE OR REPLACE FUNCTION audit._table_problems()
    RETURNS TABLE (tracked_table_id integer, subject text, problem text, remedy text)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_nestloop = off
    SET jit = off
AS $_table_problems$
    WITH captured AS (
        SELECT k, k.id, c.oid AS relation, c.relispartition,
               COALESCE(c.oid::regclass::text, format('%I.%I', k.schema_name, k.table_name)) AS name
          FROM audit.tracked_table AS k
          LEFT JOIN pg_trigger AS t ON t.tgname = '_audit_truncate'
                AND t.tgfoid = to_regproc('audit.capture_truncate')
                AND audit._argument_id(t.tgargs) = k.id
          LEFT JOIN pg_namespace AS n ON n.nspname = k.schema_name
          LEFT JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = k.table_name
          LEFT JOIN pg_class AS c ON c.oid = COALESCE(t.tgrelid, r.oid)
         WHERE k.detached_at IS NULL)
    SELECT id, name, 'the table is gone', 'SELECT audit.run_maintenance();'
      FROM captured WHERE relation IS NULL
    UNION ALL
    SELECT id, name, format('it is a partition of %s by now', pg_partition_root(relation)),
           format('SELECT audit.detach(%L); and attach the other', name)
      FROM captured WHERE relispartition
    UNION ALL
    SELECT id, name, 'it inherits by now: by statement, rows are recorded twice',
           format('SELECT audit.attach(%L, ''row'');', name)
      FROM captured
     WHERE (k).mode = 'statement' AND EXISTS (
           SELECT FROM pg_inherits AS i WHERE relation IN (i.inhparent, i.inhrelid))
    UNION ALL
    SELECT id, name, format('key column %I is gone', key_column),
           format('SELECT audit.attach(%L, ...) with the key columns of today', name)
      FROM captured CROSS JOIN unnest((k).key_columns) AS key_column
     WHERE relation IS NOT NULL AND NOT EXISTS (
           SELECT FROM pg_attribute AS a
            WHERE a.attrelid = relation AND a.attname = key_column AND NOT a.attisdropped)
    UNION ALL
    SELECT id, name, format('its key %s is no longer covered by a unique index',
                            (k).key_columns),
           format('SELECT audit.attach(%L, ...) with the key columns of today', name)
      FROM captured
     WHERE (k).key_is_unique AND relation IS NOT NULL
       AND NOT audit._is_unique_key(relation, (k).key_columns)
       AND NOT EXISTS (
           SELECT FROM unnest((k).key_columns) AS key_column
            WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                               WHERE a.attrelid = relation AND a.attname = key_column
                                 AND NOT a.attisdropped))
    UNION ALL
    SELECT id, name, format('trigger %s is %s', trigger,
               CASE WHEN t.oid IS NULL THEN 'missing'
                    WHEN t.tgenabled IN ('D', 'R') THEN 'disabled'
                    ELSE 'altered' END),
           audit._attach_call(relation, k)
      FROM captured
     CROSS JOIN audit._missing_triggers(relation, k) AS wanted
     CROSS JOIN substring(wanted FROM 'CREATE TRIGGER (\w+)') AS trigger
      LEFT JOIN pg_trigger AS t ON t.tgrelid = relation AND t.tgname = trigger
     WHERE NOT relispartition
    UNION ALL
    SELECT id, name, format('trigger %s is disabled in partition %s', t.tgname,
                            t.tgrelid::regclass),
           format('ALTER TABLE %s ENABLE %sTRIGGER %s;', t.tgrelid::regclass,
                  CASE WHEN (k).enable_always THEN 'ALWAYS ' ELSE '' END, t.tgname)
      FROM captured
      JOIN pg_trigger AS t ON t.tgrelid IN (SELECT relid FROM pg_partition_tree(relation))
           AND t.tgrelid <> relation AND t.tgparentid <> 0
     WHERE t.tgname IN ('_audit_insert', '_audit_update', '_audit_delete')
       AND t.tgenabled <> CASE WHEN (k).enable_always THEN 'A' ELSE 'O' END
    UNION ALL
    SELECT id, name, 'its baseline is not complete',
           format('SELECT audit.record_baseline(%L); until it returns 0', name)
      FROM captured JOIN audit.baseline AS b ON b.tracked_table_id = id AND b.finished_at IS NULL
     WHERE relation IS NOT NULL
$_table_problems$;

COMMENT ON FUNCTION audit._table_problems() IS
    'Internal: what is wrong with the capture of attached tables, and how to mend it.';
REVOKE ALL ON FUNCTION audit._table_problems() FROM PUBLIC;
