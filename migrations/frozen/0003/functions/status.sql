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
    c_maintain CONSTANT text := 'SELECT audit.run_maintenance();';
    v_setting audit.setting;
    v_last audit.maintenance_run;
    v_counting audit.counting;
    v_broken bigint := (SELECT count(DISTINCT p.tracked_table_id)
                          FROM audit._table_problems() AS p);
    v_ahead bigint;
    v_renderer text := (SELECT CASE WHEN prosecdef THEN pg_get_userbyid(proowner) ELSE 'caller' END
                          FROM pg_proc WHERE oid = to_regproc('audit._row_to_jsonb'));
    v_partman boolean := audit._uses_partman();
    v_late bigint := (SELECT count(*) FROM audit._unarchived() AS u
                       WHERE u.to_time < now() - interval '2 days');
    v_failed text := (SELECT min(a.message) FROM audit.archive AS a
                       WHERE a.state = 'failed'
                         AND NOT EXISTS (SELECT FROM audit.archive AS b
                                          WHERE (b.from_time, b.to_time)
                                                = (a.from_time, a.to_time) AND b.id > a.id));
    v_stray boolean := EXISTS (SELECT FROM audit.event_default);
    v_unguarded text := (SELECT string_agg(r::text, ', ' ORDER BY r::text)
                           FROM audit._unguarded() AS r);
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    SELECT * INTO STRICT v_counting FROM audit.counting;
    SELECT * INTO v_last FROM audit.maintenance_run ORDER BY id DESC LIMIT 1;
    SELECT count(*) INTO v_ahead FROM audit.partition AS p WHERE p.from_time > now();

    RETURN QUERY
    SELECT s.item, CASE WHEN s.remedy IS NULL THEN 'ok' ELSE 'warning' END, s.value, s.remedy
      FROM (VALUES
        ('attached tables',
         (SELECT CASE WHEN v_broken = 0 THEN format('%s captured', count(*))
                      ELSE format('%s of %s not captured properly', v_broken, count(*)) END
            FROM audit.tracked_table WHERE detached_at IS NULL),
         CASE WHEN v_broken > 0 THEN 'SELECT * FROM audit.check(); says what is wrong' END),
        ('rendering of rows',
         CASE WHEN v_renderer = v_setting.nobody_role THEN 'without any right'
              ELSE format('as %s', v_renderer) END,
         CASE WHEN v_renderer = v_setting.nobody_role THEN NULL
              ELSE format('a superuser runs: ALTER FUNCTION audit._row_to_jsonb(anyelement) '
                          'SECURITY DEFINER; ALTER FUNCTION audit._row_to_jsonb(anyelement) '
                          'OWNER TO %I;', v_setting.nobody_role) END),
        ('append-only',
         COALESCE('not ' || v_unguarded, 'all partitions'),
         CASE WHEN v_unguarded IS NOT NULL THEN c_maintain END),
        ('future partitions',
         format('%s of %s, by %s', v_ahead, v_setting.premake, v_setting.partition_interval),
         CASE WHEN v_ahead < v_setting.premake THEN c_maintain END),
        ('default partitions',
         CASE WHEN v_stray THEN 'hold rows' ELSE 'empty' END,
         CASE WHEN v_stray THEN c_maintain END),
        ('partition backend',
         CASE WHEN v_setting.partition_backend = 'native' OR v_partman
              THEN v_setting.partition_backend
              ELSE 'native: pg_partman was chosen and cannot be used' END,
         CASE WHEN v_setting.partition_backend = 'pg_partman' AND NOT v_partman
              THEN 'SELECT audit.set_partition_backend(''native''); or '
                   || COALESCE('have a DBA do this: ' || audit._partman_remedy() || ' Then: ', '')
                   || 'SELECT audit.set_partition_backend(''pg_partman'');' END),
        ('last maintenance',
         CASE WHEN v_last.id IS NULL THEN 'never ran'
              ELSE format('%s at %s', v_last.status, date_trunc('second', v_last.started_at)) END,
         CASE WHEN v_last.status = 'failed' THEN v_last.message
              WHEN v_last.id IS NULL OR v_last.started_at < now() - interval '1 day'
              THEN 'SELECT audit.schedule_jobs(); or run audit-schema maintain every hour' END),
        ('counts of events',
         CASE WHEN v_counting.counted_to = '-infinity' THEN 'none yet'
              ELSE format('to %s', v_counting.counted_to) END,
         CASE WHEN v_counting.observed_at < v_last.started_at - interval '1 day'
              THEN format('end the transactions that are open since before %s: SELECT pid FROM '
                          'pg_locks, audit.counting WHERE virtualxid = ANY (open_transactions); '
                          'SELECT gid FROM pg_prepared_xacts;',
                          date_trunc('second', v_counting.observed_at)) END),
        ('archives',
         CASE WHEN v_setting.archive_url IS NULL THEN 'none'
              WHEN v_late = 0 THEN 'of all closed partitions'
              ELSE format('missing for %s closed partitions', v_late) END,
         CASE WHEN v_failed IS NOT NULL THEN
              format('audit-schema archive list; one failed: %s', v_failed)
              WHEN v_late > 0 AND v_setting.archive_url IS NOT NULL THEN
              'audit-schema archive run' END))
        AS s (item, value, remedy)
    UNION ALL
    SELECT 'partitions', 'info',
           format('%s of %s', count(*), pg_size_pretty(sum(p.total_bytes))),
           NULL
      FROM audit.partition AS p
    UNION ALL
    SELECT 'index profiles', 'info',
           format('%s while written to, %s once closed; %s closing',
                  v_setting.hot_index_profile, v_setting.closed_index_profile, count(*)),
           NULL
      FROM audit.partition AS p WHERE p.state = 'closing'
    UNION ALL
    SELECT 'retention', 'info',
           format('%s; %s tables otherwise; %s legal holds',
                  COALESCE(v_setting.keep::text, 'for ever'),
                  (SELECT count(*) FROM audit.tracked_table WHERE keep IS NOT NULL),
                  (SELECT count(*) FROM audit.legal_hold WHERE released_at IS NULL)),
           NULL
    UNION ALL
    SELECT 'DDL', 'info',
           CASE WHEN v_setting.captures_ddl THEN 'recorded'
                ELSE 'not recorded; a superuser can have it so: '
                     'SELECT audit.enable_ddl_capture();' END,
           NULL;
END;
$status$;

COMMENT ON FUNCTION audit.status() IS
    'The state of the trail: item, state (ok, warning or info), value, and a remedy where there is '
    'something to do.';
REVOKE ALL ON FUNCTION audit.status() FROM PUBLIC;
