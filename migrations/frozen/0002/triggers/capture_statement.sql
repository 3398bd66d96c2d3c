-- Record one event for each row of an INSERT, UPDATE or DELETE statement.
-- Fired AFTER the statement with its transition tables old_rows and new_rows. Arguments and
-- settings: as capture_row. SECURITY DEFINER: the writer has no right on the trail.
-- Plans: jit is off because a plan made for a bulk statement keeps its cost, and each later one-row
-- statement of the session would compile it again; a generic plan is as good as one made for each
-- call, and saves the planning.
CREATE OR REPLACE FUNCTION audit.capture_statement()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $capture_statement$
DECLARE
    v_table integer := TG_ARGV[0]::integer;
    v_key_columns text[] := TG_ARGV[1]::text[];
    v_omitted text[] := TG_ARGV[2]::text[];
    v_foreign boolean := audit._runs_foreign_code(TG_RELID);
BEGIN
    /* OFFSET 0 keeps the planner from converting each row twice; r.* is the row even where the
       table has a column r */
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action, row_key, new_values)
        SELECT now(), clock_timestamp(), txid_current(), v_table, 'insert',
               audit._row_key(n.row, v_key_columns, TG_RELID), n.row
          FROM (SELECT CASE WHEN v_foreign THEN audit._row_to_jsonb(r.*)
                            ELSE to_jsonb(r.*) END - v_omitted AS row
                  FROM new_rows AS r OFFSET 0) AS n;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action, row_key, old_values)
        SELECT now(), clock_timestamp(), txid_current(), v_table, 'delete',
               audit._row_key(o.row, v_key_columns, TG_RELID), o.row
          FROM (SELECT CASE WHEN v_foreign THEN audit._row_to_jsonb(r.*)
                            ELSE to_jsonb(r.*) END - v_omitted AS row
                  FROM old_rows AS r OFFSET 0) AS o;
    ELSE
        /* pair old and new by key; a row whose key changed has no partner: delete and insert */
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action, row_key,
            old_values, new_values)
        SELECT now(), clock_timestamp(), txid_current(), v_table,
               CASE WHEN n.key IS NULL THEN 'delete'
                    WHEN o.key IS NULL THEN 'insert' ELSE 'update' END,
               COALESCE(n.key, o.key), o.row - d.same, n.row - d.same
          FROM (SELECT r.row, audit._row_key(r.row, v_key_columns, TG_RELID) AS key
                  FROM (SELECT CASE WHEN v_foreign THEN audit._row_to_jsonb(r.*)
                                    ELSE to_jsonb(r.*) END - v_omitted AS row
                          FROM old_rows AS r OFFSET 0) AS r) AS o
          FULL JOIN
               (SELECT r.row, audit._row_key(r.row, v_key_columns, TG_RELID) AS key
                  FROM (SELECT CASE WHEN v_foreign THEN audit._row_to_jsonb(r.*)
                                    ELSE to_jsonb(r.*) END - v_omitted AS row
                          FROM new_rows AS r OFFSET 0) AS r) AS n
            ON n.key = o.key
         CROSS JOIN LATERAL (
               SELECT COALESCE(array_agg(e.key), '{}') AS same
                 FROM jsonb_each(o.row) AS e
                WHERE ROW(e.value)::record OPERATOR(pg_catalog.*=)
                      ROW(n.row -> e.key)::record) AS d
         WHERE ROW(o.row)::record OPERATOR(pg_catalog.*<>) ROW(n.row)::record;
    END IF;

    IF FOUND THEN
        PERFORM audit._record_transaction();
    END IF;
    RETURN NULL;
END;
$capture_statement$;

COMMENT ON FUNCTION audit.capture_statement() IS
    'Trigger function: record the changed rows of one statement. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_statement() FROM PUBLIC;
