-- Take the jobs of audit_schema out of pg_cron, as far as the caller may see them.
CREATE OR REPLACE FUNCTION audit.unschedule_jobs()
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $unschedule_jobs$
DECLARE
    v_removed integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RETURN 'pg_cron is not in this database';
    ELSIF has_schema_privilege('cron', 'USAGE') THEN
        EXECUTE 'SELECT count(cron.unschedule(jobid)) FROM cron.job '
                'WHERE starts_with(jobname::text, ''audit_schema: '') '
                'AND username = current_user AND database = current_database()' INTO v_removed;
    END IF;
    RETURN format('%s jobs removed', v_removed);
END;
$unschedule_jobs$;

COMMENT ON FUNCTION audit.unschedule_jobs() IS
    'Remove the pg_cron jobs that the calling role scheduled for audit_schema in this database.';
REVOKE ALL ON FUNCTION audit.unschedule_jobs() FROM PUBLIC;
