-- Record one event for one inserted, updated or deleted row.
-- Fired AFTER each row. Arguments: id of the tracked table, its key columns as text[].
-- SECURITY DEFINER: the writer has no right on the trail. The settings fix how values are
-- rendered, so that a change reads the same whoever made it. UPDATE keeps the columns whose
-- stored form changed, old and new; equality of types would take 1.0 and 1.00 for the same.
CREATE OR REPLACE FUNCTION audit.capture_row()
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
AS $capture_row$
DECLARE
    v_key_columns text[] := TG_ARGV[1];
    v_old jsonb;
    v_new jsonb;
    v_key jsonb;
    v_same text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        v_new := to_jsonb(NEW);
        v_key := audit._row_key(v_new, v_key_columns);
    ELSIF TG_OP = 'DELETE' THEN
        v_old := to_jsonb(OLD);
        v_key := audit._row_key(v_old, v_key_columns);
    ELSE
        v_old := to_jsonb(OLD);
        v_new := to_jsonb(NEW);
        v_key := audit._row_key(v_new, v_key_columns);
        /* leave out what stayed the same, compared byte for byte */
        SELECT COALESCE(array_agg(o.key), '{}') INTO v_same
          FROM jsonb_each(v_old) AS o
         WHERE ROW(o.value)::record OPERATOR(pg_catalog.*=) ROW(v_new -> o.key)::record;
        v_old := v_old - v_same;
        v_new := v_new - v_same;
    END IF;

    INSERT INTO audit.event (
        started_at, occurred_at, xid, tracked_table_id, action, row_key, old_values, new_values)
    VALUES (
        now(), clock_timestamp(), txid_current(), TG_ARGV[0]::integer, lower(TG_OP),
        v_key, v_old, v_new);
    PERFORM audit._record_transaction();
    RETURN NULL;
END;
$capture_row$;

COMMENT ON FUNCTION audit.capture_row() IS
    'Trigger function: record one event for one changed row. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_row() FROM PUBLIC;
