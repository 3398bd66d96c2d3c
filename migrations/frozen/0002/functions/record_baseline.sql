-- Record the rows that an attached table has now, so that the first change of an old row tells what
-- it was. One batch in the order of the primary key; call it again until it returns 0, each time in
-- a transaction of its own. Runs with the caller's rights: the owner of the trail cannot read the
-- table. FOR SHARE waits for running writers and keeps others from changing a row before it is
-- recorded, so its events are in the right order. The settings are those of capture.
CREATE OR REPLACE FUNCTION audit.record_baseline(p_table regclass, p_limit integer DEFAULT 10000)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $record_baseline$
DECLARE
    v_id integer;
    v_tracked audit.tracked_table;
    v_baseline audit.baseline;
    v_order text;
    v_position text;
    v_rows jsonb[];
BEGIN
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION 'limit must be at least 1, got %', p_limit
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It is the number of rows of one batch.';
    END IF;
    v_id := audit._tracked_table_id(p_table);
    SELECT * INTO v_tracked FROM audit.tracked_table
     WHERE id = v_id AND detached_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % is not attached', COALESCE(p_table::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT audit.attach(%L); first.', p_table);
    END IF;
    SELECT * INTO v_baseline FROM audit.baseline WHERE tracked_table_id = v_id;
    IF v_baseline.finished_at IS NOT NULL THEN
        RETURN 0;
    END IF;

    /* without a key there is no order in which to go on, and a hashed one must not be written down:
       all rows at once */
    IF NOT audit._key_columns(p_table) && ARRAY(
            SELECT jsonb_array_elements_text(v_tracked.policy -> 'hash')) THEN
        SELECT string_agg(format('r.%I', name), ', ' ORDER BY position),
               string_agg(format('(SELECT k.%1$I FROM jsonb_to_record($1) AS k (%1$I %2$s))', name,
                                 format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY position)
          INTO v_order, v_position
          FROM unnest(audit._key_columns(p_table)) WITH ORDINALITY AS k (name, position)
          JOIN pg_attribute AS a ON a.attrelid = p_table AND a.attname = name;
    END IF;
    EXECUTE format(
        'SELECT array_agg(row) FROM (SELECT %s AS row FROM %s AS r %s %s FOR SHARE OF r) AS batch',
        CASE WHEN audit._has_foreign_types(p_table) THEN 'audit._row_to_jsonb(r.*)'
             ELSE 'to_jsonb(r.*)' END,
        p_table,
        CASE WHEN v_baseline.position IS NOT NULL
             THEN format('WHERE (%s) > (%s)', v_order, v_position) END,
        CASE WHEN v_order IS NOT NULL THEN format('ORDER BY %s LIMIT $2', v_order) END)
       INTO v_rows USING v_baseline.position, p_limit;
    RETURN audit._write_baseline(
        p_table, v_rows, v_order IS NULL OR COALESCE(cardinality(v_rows), 0) < p_limit);
END;
$record_baseline$;

COMMENT ON FUNCTION audit.record_baseline(regclass, integer) IS
    'Record the next rows that an attached table has now as events of action baseline; returns how '
    'many, 0 when all are recorded. Limit: rows of a batch; those of a table without a primary '
    'key, or with a hashed one, are recorded at once. Goes on where the last batch ended. Needs '
    'SELECT and UPDATE on the table. Raises object_not_in_prerequisite_state, '
    'invalid_parameter_value, insufficient_privilege.';
REVOKE ALL ON FUNCTION audit.record_baseline(regclass, integer) FROM PUBLIC;
