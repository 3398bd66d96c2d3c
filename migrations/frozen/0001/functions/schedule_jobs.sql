-- Have pg_cron run the maintenance every hour; returns what was done or what a DBA must do.
-- Runs with the caller's rights: the job runs as whoever schedules it, and the owner cannot log in.
-- Safe to run again: a job of the same name is replaced.
CREATE OR REPLACE FUNCTION audit.schedule_jobs()
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $schedule_jobs$
DECLARE
    c_name CONSTANT text := 'audit_schema: run_maintenance';
    c_schedule CONSTANT text := '5 * * * *';
    c_command CONSTANT text := 'SELECT audit.run_maintenance()';
    v_remedy text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        v_remedy := format('in the database of pg_cron (setting cron.database_name): SELECT '
            'cron.schedule_in_database(%L, %L, %L, %L); without pg_cron, have another scheduler '
            'run every hour: audit-schema maintain', c_name, c_schedule, c_command,
            current_database());
    ELSIF NOT has_schema_privilege('cron', 'USAGE') THEN
        v_remedy := format('GRANT USAGE ON SCHEMA cron TO %I; and then as %I: '
                           'SELECT audit.schedule_jobs();', current_user, current_user);
    ELSE
        /* name and command were of type name and text before 1.5 */
        EXECUTE format('SELECT cron.schedule(%L, %L, %L)', c_name, c_schedule, c_command);
        RETURN format('job "%s" runs as %s at minute 5 of every hour', c_name, current_user);
    END IF;
    RAISE NOTICE 'maintenance is not scheduled by pg_cron' USING HINT = v_remedy;
    RETURN 'not scheduled: ' || v_remedy;
END;
$schedule_jobs$;

COMMENT ON FUNCTION audit.schedule_jobs() IS
    'Schedule audit.run_maintenance() hourly in pg_cron, as the calling role; where that cannot be '
    'done, returns the exact statement a DBA must run.';
REVOKE ALL ON FUNCTION audit.schedule_jobs() FROM PUBLIC;
