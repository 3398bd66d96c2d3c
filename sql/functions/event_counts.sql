-- How many events of each table and action there were, hour by hour: from the counts that
-- maintenance keeps of hours that are settled, and from the events themselves before the first
-- whole hour and after the last one that is counted. Planned anew for each call: a plan for any
-- period would read and lock every partition.
CREATE OR REPLACE FUNCTION audit.event_counts(
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL)
    RETURNS TABLE (
        hour timestamptz,
        table_schema text,
        table_name text,
        action text,
        events bigint)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $event_counts$
#variable_conflict use_column
DECLARE
    v_part record;
BEGIN
    SELECT * INTO v_part FROM audit._counted_hours(p_from, p_to);
    RETURN QUERY
    SELECT n.hour, k.schema_name, k.table_name, n.action, sum(n.events)::bigint
      FROM (SELECT c.hour, c.tracked_table_id, c.action, c.events
              FROM audit.event_count AS c
             WHERE c.hour >= v_part.first_hour AND c.hour < v_part.last_hour
            UNION ALL
            SELECT date_trunc('hour', e.started_at), e.tracked_table_id, e.action, count(*)
              FROM audit.event AS e
             WHERE e.started_at >= v_part.from_time AND e.started_at < v_part.first_hour
             GROUP BY 1, 2, 3
            UNION ALL
            SELECT date_trunc('hour', e.started_at), e.tracked_table_id, e.action, count(*)
              FROM audit.event AS e
             WHERE e.started_at >= v_part.last_hour AND e.started_at < v_part.to_time
             GROUP BY 1, 2, 3) AS n
      LEFT JOIN audit.tracked_table AS k ON k.id = n.tracked_table_id
     GROUP BY n.hour, n.tracked_table_id, k.id, n.action;
END;
$event_counts$;

COMMENT ON FUNCTION audit.event_counts(timestamptz, timestamptz) IS
    'Number of events by hour of the start of their transaction (UTC), table and action. From '
    '(default: now less setting default_window) is included, to (default: no end) is not. Exact, '
    'and fast because maintenance keeps counts of whole hours.';
REVOKE ALL ON FUNCTION audit.event_counts(timestamptz, timestamptz) FROM PUBLIC;
