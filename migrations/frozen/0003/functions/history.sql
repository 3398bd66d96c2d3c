-- Who changed this row, or this table, when, from what to what, and why: newest first, in pages.
-- First the page, then the context of its events. Planned anew for each call: a plan for any
-- period would lock every partition.
CREATE OR REPLACE FUNCTION audit.history(
    p_table regclass,
    p_key jsonb DEFAULT NULL,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL,
    p_limit integer DEFAULT 100,
    p_before text DEFAULT NULL)
    RETURNS SETOF audit.change
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $history$
DECLARE
    v_id integer := audit._check_tracked(p_table);
    v_table audit.tracked_table;
    v_from timestamptz := audit._page_start(p_from, p_limit);
    v_to timestamptz := COALESCE(p_to, 'infinity');
    v_before record;
    v_key jsonb;
BEGIN
    SELECT * INTO STRICT v_table FROM audit.tracked_table WHERE id = v_id;
    SELECT * INTO v_before FROM audit._cursor_parts(p_before);

    IF p_key IS NULL THEN
        RETURN QUERY
        SELECT c.*
          FROM (SELECT e FROM audit.event AS e
                 WHERE e.tracked_table_id = v_table.id
                   AND e.started_at >= v_from AND e.started_at < v_to
                   AND (e.occurred_at, e.id) < (v_before.occurred_at, v_before.event_id)
                 ORDER BY e.occurred_at DESC, e.id DESC
                 LIMIT p_limit) AS page (event)
         CROSS JOIN LATERAL audit._as_change(page.event, v_from, v_to) AS c
         ORDER BY c.occurred_at DESC, c.event_id DESC;
    ELSE
        v_key := audit._recorded_key(
            v_table.id, audit._cast_key(p_table, v_table.key_columns, p_key));
        RETURN QUERY
        SELECT c.*
          FROM (SELECT e FROM audit.event AS e
                 WHERE e.tracked_table_id = v_table.id
                   AND e.row_hash = jsonb_hash_extended(v_key, v_table.id)
                   AND e.row_key = v_key
                   AND e.started_at >= v_from AND e.started_at < v_to
                   AND (e.occurred_at, e.id) < (v_before.occurred_at, v_before.event_id)
                 ORDER BY e.occurred_at DESC, e.id DESC
                 LIMIT p_limit) AS page (event)
         CROSS JOIN LATERAL audit._as_change(page.event, v_from, v_to) AS c
         ORDER BY c.occurred_at DESC, c.event_id DESC;
    END IF;
END;
$history$;

COMMENT ON FUNCTION audit.history(regclass, jsonb, timestamptz, timestamptz, integer, text) IS
    'The changes of one row, or of a whole table when key is NULL, newest first, as rows of '
    'audit.change. Key: an object of the key columns, or a bare value for a key of one column. '
    'From (default: now less setting default_window) and to bound the start of the transaction. '
    'Limit: rows of a page, 1 to 10000. Before: column cursor of the last row of the page before. '
    'Raises object_not_in_prerequisite_state for a table never attached, invalid_parameter_value.';
REVOKE ALL ON FUNCTION audit.history(regclass, jsonb, timestamptz, timestamptz, integer, text)
    FROM PUBLIC;
