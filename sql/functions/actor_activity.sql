-- What one actor changed: newest transaction first, in pages. The order starts with the start of
-- the transaction, so that a page is read from the index of actors and stops when it is full.
-- Planned anew for each call: a plan for any period would read and lock every partition.
CREATE OR REPLACE FUNCTION audit.actor_activity(
    p_actor text,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL,
    p_limit integer DEFAULT 100,
    p_before text DEFAULT NULL)
    RETURNS SETOF audit.change
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $actor_activity$
DECLARE
    v_from timestamptz := audit._page_start(p_from, p_limit);
    v_to timestamptz := COALESCE(p_to, 'infinity');
    v_before record;
BEGIN
    SELECT * INTO v_before FROM audit._cursor_parts(p_before);
    RETURN QUERY
    SELECT c.*
      FROM (SELECT e FROM audit.event AS e
             WHERE e.actor = p_actor
               AND e.started_at >= v_from AND e.started_at < v_to
               AND e.started_at <= v_before.started_at
               AND (e.started_at, e.occurred_at, e.id)
                   < (v_before.started_at, v_before.occurred_at, v_before.event_id)
             ORDER BY e.started_at DESC, e.occurred_at DESC, e.id DESC
             LIMIT p_limit) AS page (event)
     CROSS JOIN LATERAL audit._as_change(page.event, v_from, v_to) AS c
     ORDER BY c.started_at DESC, c.occurred_at DESC, c.event_id DESC;
END;
$actor_activity$;

COMMENT ON FUNCTION audit.actor_activity(text, timestamptz, timestamptz, integer, text) IS
    'The changes made for one actor, newest transaction first, as rows of audit.change. From '
    '(default: now less setting default_window) and to bound the start of the transaction. Limit: '
    'rows of a page, 1 to 10000. Before: column cursor of the last row of the page before. Raises '
    'invalid_parameter_value.';
REVOKE ALL ON FUNCTION audit.actor_activity(text, timestamptz, timestamptz, integer, text)
    FROM PUBLIC;
