-- The state of the trail at a glance: one row for each item, with what to do where it is not well.
-- SECURITY DEFINER: a reader may ask, but has no right on the tables below.
CREATE OR REPLACE FUNCTION audit.status()
    RETURNS TABLE (item text, state text, value text, remedy text)
    LANGUAGE plpgsql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $status$
DECLARE
    v_setting audit.setting;
    v_last audit.maintenance_run;
    v_ahead bigint := (SELECT count(*) FROM audit.partition AS p
                        WHERE p.parent = 'event' AND p.from_time > now());
    v_idle bigint := (SELECT count(*) FROM audit.tracked_table AS k
                       WHERE k.detached_at IS NULL AND 4 > (
                             SELECT count(*) FROM pg_trigger AS t
                               JOIN pg_class AS c ON c.oid = t.tgrelid
                               JOIN pg_namespace AS n ON n.oid = c.relnamespace
                              WHERE n.nspname = k.schema_name AND c.relname = k.table_name
                                AND starts_with(t.tgname, '_audit_') AND t.tgenabled <> 'D'));
    c_maintain CONSTANT text := 'SELECT audit.run_maintenance();';
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    SELECT * INTO v_last FROM audit.maintenance_run ORDER BY id DESC LIMIT 1;

    RETURN QUERY
    SELECT s.item, CASE WHEN s.remedy IS NULL THEN 'ok' ELSE 'warning' END, s.value, s.remedy
      FROM (SELECT EXISTS (SELECT FROM audit.event_default)
                OR EXISTS (SELECT FROM audit.transaction_default)) AS stray (found)
     CROSS JOIN LATERAL (VALUES
        ('attached tables',
         format('%s, of which %s lack a trigger',
                (SELECT count(*) FROM audit.tracked_table WHERE detached_at IS NULL), v_idle),
         CASE WHEN v_idle > 0 THEN 'audit.attach(…) again, or audit.detach(…)' END),
        ('future partitions',
         format('%s of %s, by %s', v_ahead, v_setting.premake, v_setting.partition_interval),
         CASE WHEN v_ahead < v_setting.premake THEN c_maintain END),
        ('default partitions',
         CASE WHEN stray.found THEN 'hold rows' ELSE 'empty' END,
         CASE WHEN stray.found THEN c_maintain END),
        ('last maintenance',
         COALESCE(format('%s at %s', v_last.status, date_trunc('second', v_last.started_at)),
                  'never ran'),
         CASE WHEN v_last.status = 'failed' THEN v_last.message
              WHEN v_last.started_at IS NULL OR v_last.started_at < now() - interval '1 day'
              THEN 'SELECT audit.schedule_jobs(); or run audit-schema maintain every hour' END))
        AS s (item, value, remedy)
    UNION ALL
    SELECT 'partitions', 'info',
           format('%s of %s, kept by %s', count(*), pg_size_pretty(sum(p.total_bytes)),
                  v_setting.partition_backend),
           NULL
      FROM audit.partition AS p;
END;
$status$;

COMMENT ON FUNCTION audit.status() IS
    'The state of the trail: item, state (ok, warning or info), value, and a remedy where there is '
    'something to do.';
REVOKE ALL ON FUNCTION audit.status() FROM PUBLIC;
