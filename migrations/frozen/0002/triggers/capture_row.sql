-- Record one event for one inserted, updated or deleted row.
-- Fired AFTER each row. Arguments: id of the tracked table, its key columns as text[], columns to
-- leave out as text[]. SECURITY DEFINER: the writer has no right on the trail. The settings fix
-- how values are rendered, so that a change reads the same whoever made it. UPDATE keeps the
-- columns whose stored form changed, old and new; equality of types would take 1.0 for 1.00.
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
    v_key_columns text[] := TG_ARGV[1]::text[];
    v_omitted text[] := TG_ARGV[2]::text[];
    v_foreign boolean := audit._runs_foreign_code(TG_RELID);
    v_old jsonb;
    v_new jsonb;
    v_key jsonb;
    v_same text[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        v_old := CASE WHEN v_foreign THEN audit._row_to_jsonb(OLD) ELSE to_jsonb(OLD) END
                 - v_omitted;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        v_new := CASE WHEN v_foreign THEN audit._row_to_jsonb(NEW) ELSE to_jsonb(NEW) END
                 - v_omitted;
    END IF;
    v_key := audit._row_key(COALESCE(v_new, v_old), v_key_columns, TG_RELID);

    IF TG_OP = 'UPDATE' THEN
        /* leave out what stayed the same, compared byte for byte */
        SELECT COALESCE(array_agg(o.key), '{}') INTO v_same
          FROM jsonb_each(v_old) AS o
         WHERE ROW(o.value)::record OPERATOR(pg_catalog.*=) ROW(v_new -> o.key)::record;
        v_old := v_old - v_same;
        v_new := v_new - v_same;
        IF v_old = '{}' AND v_new = '{}' THEN
            RETURN NULL;  -- what changed has no form of its own in JSON
        END IF;
    END IF;

    INSERT INTO audit.event (
        started_at, occurred_at, xid, tracked_table_id, action, row_key, old_values, new_values)
    VALUES (
        now(), clock_timestamp(), txid_current(), TG_ARGV[0]::integer,
        lower(TG_OP COLLATE "C"), v_key, v_old, v_new);
    PERFORM audit._record_transaction();
    RETURN NULL;
END;
$capture_row$;

COMMENT ON FUNCTION audit.capture_row() IS
    'Trigger function: record one event for one changed row. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_row() FROM PUBLIC;
