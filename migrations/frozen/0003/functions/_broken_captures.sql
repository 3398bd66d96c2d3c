-- How many attached tables are not captured as they should be: a trigger missing, disabled or
-- altered, a key column renamed or dropped, a key no longer unique (its name may by now be that of
-- another column), the table gone, made a partition of another, or one that inherits by now and yet
-- is captured by statement.
CREATE OR REPLACE FUNCTION audit._broken_captures()
    RETURNS bigint
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_broken_captures$
    SELECT count(*)
      FROM audit.tracked_table AS k
      LEFT JOIN pg_trigger AS t ON t.tgname = '_audit_truncate'
            AND t.tgfoid = to_regproc('audit.capture_truncate')
            AND audit._argument_id(t.tgargs) = k.id
      LEFT JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE k.detached_at IS NULL
       AND (c.oid IS NULL OR c.relispartition
            OR (k.mode = 'statement' AND EXISTS (
                SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhparent, i.inhrelid)))
            OR EXISTS (SELECT FROM audit._missing_triggers(c.oid, k.mode, k.id, k.key_columns))
            OR (k.key_is_unique AND NOT audit._is_unique_key(c.oid, k.key_columns))
            OR EXISTS (SELECT FROM unnest(k.key_columns) AS name
                        WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                                           WHERE a.attrelid = c.oid AND a.attname = name
                                             AND NOT a.attisdropped)))
$_broken_captures$;

COMMENT ON FUNCTION audit._broken_captures() IS
    'Internal: number of attached tables that are not captured as they should be.';
REVOKE ALL ON FUNCTION audit._broken_captures() FROM PUBLIC;
