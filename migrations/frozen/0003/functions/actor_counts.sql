-- How many events each actor made; as audit.event_counts(), but over the whole time.
CREATE OR REPLACE FUNCTION audit.actor_counts(
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL)
    RETURNS TABLE (actor text, events bigint)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $actor_counts$
#variable_conflict use_column
DECLARE
    v_part record;
BEGIN
    SELECT * INTO v_part FROM audit._counted_hours(p_from, p_to);
    RETURN QUERY
    SELECT n.actor, sum(n.events)::bigint
      FROM (SELECT c.actor, c.events
              FROM audit.actor_count AS c
             WHERE c.hour >= v_part.first_hour AND c.hour < v_part.last_hour
            UNION ALL
            SELECT e.actor, 1
              FROM audit.event AS e
             WHERE e.started_at >= v_part.from_time AND e.started_at < v_part.first_hour
            UNION ALL
            SELECT e.actor, 1
              FROM audit.event AS e
             WHERE e.started_at >= v_part.last_hour AND e.started_at < v_part.to_time) AS n
     GROUP BY n.actor;
END;
$actor_counts$;

COMMENT ON FUNCTION audit.actor_counts(timestamptz, timestamptz) IS
    'Number of events by actor, NULL for those without one; bounds as of audit.event_counts().';
REVOKE ALL ON FUNCTION audit.actor_counts(timestamptz, timestamptz) FROM PUBLIC;
