-- What changed a value to this one, or was done under this metadata: newest transaction first, in
-- pages. All that matches is found first, by the GIN index of each partition that has one, and only
-- then sorted. With the LIMIT in sight the planner might rather read backwards until a page is
-- full, which for something rare is all of the period: OFFSET 0 keeps it out of sight.
-- The metadata of a statement stands in its first event, so without values to look for, the
-- transactions come first that have such an event: one more than a page holds, for of the one where
-- the last page ended nothing may be left.
CREATE OR REPLACE FUNCTION audit.search(
    p_new_values jsonb DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL,
    p_limit integer DEFAULT 100,
    p_before text DEFAULT NULL)
    RETURNS SETOF audit.change
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $search$
DECLARE
    v_from timestamptz := audit._page_start(p_from, p_limit);
    v_to timestamptz := COALESCE(p_to, 'infinity');
    v_before record;
    v_starts timestamptz[];
BEGIN
    IF COALESCE(jsonb_typeof(p_new_values), jsonb_typeof(p_metadata)) IS NULL
            OR jsonb_typeof(p_new_values) <> 'object' OR jsonb_typeof(p_metadata) <> 'object' THEN
        RAISE EXCEPTION 'nothing to search for: new values %, metadata %',
                COALESCE(p_new_values::text, 'NULL'), COALESCE(p_metadata::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass a JSON object for one of them or both, such as '
                         'p_metadata => ''{"request_id": "ab12"}''.';
    END IF;
    SELECT * INTO v_before FROM audit._cursor_parts(p_before);

    IF p_new_values IS NULL THEN
        v_starts := ARRAY(
            SELECT DISTINCT m.started_at
              FROM (SELECT e.started_at FROM audit.event AS e
                     WHERE e.metadata @> p_metadata
                       AND e.started_at >= v_from AND e.started_at < v_to
                       AND e.started_at <= v_before.started_at OFFSET 0) AS m
             ORDER BY m.started_at DESC
             LIMIT p_limit + 1);
        IF v_starts = '{}' THEN
            RETURN;
        END IF;
        v_from := GREATEST(v_from, v_starts[cardinality(v_starts)]);
        v_to := LEAST(v_to, v_starts[1] + interval '1 microsecond');
    END IF;

    RETURN QUERY
    SELECT c.*
      FROM (SELECT m.started_at, m.occurred_at, m.id
              FROM (SELECT e.started_at, e.occurred_at, e.id FROM audit.event AS e
                     WHERE (p_new_values IS NULL OR e.new_values @> p_new_values)
                       AND (v_starts IS NULL OR e.started_at = ANY (v_starts))
                       AND (p_metadata IS NULL
                            OR COALESCE(e.metadata, (
                                SELECT s.metadata FROM audit.event AS s
                                 WHERE s.started_at = e.started_at AND s.id = e.context_id
                                   AND s.started_at >= v_from AND s.started_at < v_to))
                               @> p_metadata)
                       AND e.started_at >= v_from AND e.started_at < v_to
                       AND e.started_at <= v_before.started_at
                       AND (e.started_at, e.occurred_at, e.id)
                           < (v_before.started_at, v_before.occurred_at, v_before.event_id)
                    OFFSET 0) AS m
             ORDER BY m.started_at DESC, m.occurred_at DESC, m.id DESC
             LIMIT p_limit) AS page
     CROSS JOIN LATERAL (
            SELECT e FROM audit.event AS e
             WHERE e.started_at = page.started_at AND e.id = page.id
               AND e.started_at >= v_from AND e.started_at < v_to OFFSET 0) AS found (event)
     CROSS JOIN LATERAL audit._as_change(found.event, v_from, v_to) AS c
     ORDER BY c.started_at DESC, c.occurred_at DESC, c.event_id DESC;
END;
$search$;

COMMENT ON FUNCTION audit.search(jsonb, jsonb, timestamptz, timestamptz, integer, text) IS
    'The changes that brought these new values, were made under this metadata, or both: whose JSON '
    'contains the given object, such as {"email": "jane@example.org"}. As rows of audit.change, '
    'newest transaction first. From (default: now less setting default_window) and to bound the '
    'start of the transaction. Limit: rows of a page, 1 to 10000. Before: column cursor of the '
    'last row of the page before. Partitions of the index profile search are searched by index, '
    'others are read. Raises invalid_parameter_value.';
REVOKE ALL ON FUNCTION audit.search(jsonb, jsonb, timestamptz, timestamptz, integer, text)
    FROM PUBLIC;
