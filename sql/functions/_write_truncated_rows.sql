-- Record the rows that a TRUNCATE is about to remove; called by audit.capture_truncate() with the
-- id of the event that carries the context. The owner of the trail reads the table: it must be able
-- to, and row security must not hide rows from it, which is an error with row_security off. The
-- other settings are those of capture.
CREATE OR REPLACE FUNCTION audit._write_truncated_rows(
    p_table regclass,
    p_tracked_table_id integer,
    p_key_columns text[],
    p_policy jsonb,
    p_context_id bigint)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
    SET jit = off
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $_write_truncated_rows$
BEGIN
    EXECUTE format(
        'INSERT INTO audit.event (started_at, occurred_at, xid, context_id, tracked_table_id, '
        '                         action, row_key, row_hash, old_values, actor) '
        'SELECT e.started_at, clock_timestamp(), e.xid, e.id, e.tracked_table_id, e.action, '
        '       k.key, jsonb_hash_extended(k.key, $2), audit._apply_policy(k.row, $5), e.actor '
        '  FROM audit.event AS e '
        ' CROSS JOIN (SELECT r.row, audit._apply_policy(audit._row_key(r.row, $3, $4), $5) AS key '
        '               FROM (SELECT %s AS row FROM %s AS t OFFSET 0) AS r OFFSET 0) AS k '
        ' WHERE e.started_at = now() AND e.id = $1 AND e.tracked_table_id = $2',
        CASE WHEN audit._has_foreign_types(p_table) THEN 'audit._row_to_jsonb(t.*)'
             ELSE 'to_jsonb(t.*)' END,
        p_table)
      USING p_context_id, p_tracked_table_id, p_key_columns, p_table::oid, p_policy;
END;
$_write_truncated_rows$;

COMMENT ON FUNCTION audit._write_truncated_rows(regclass, integer, text[], jsonb, bigint) IS
    'Internal: record the rows that a TRUNCATE removes.';
REVOKE ALL ON FUNCTION audit._write_truncated_rows(regclass, integer, text[], jsonb, bigint)
    FROM PUBLIC;
