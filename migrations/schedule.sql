-- Run by env.py after an upgrade or downgrade, as the deploying role again: its jobs run as itself,
-- since the owner of the trail cannot log in.

SELECT set_config('role', current_setting('audit.deploying_role'), true);
DO $schedule$
BEGIN
    IF to_regproc('audit.schedule_jobs') IS NOT NULL THEN
        PERFORM audit.schedule_jobs();
    END IF;
    IF to_regproc('audit.enable_ddl_capture') IS NOT NULL THEN
        PERFORM audit.enable_ddl_capture();
    END IF;
END;
$schedule$;

-- a caller's transaction may go on after us
SELECT set_config(name, current_setting('audit.deploying_' || name), true)
  FROM unnest(ARRAY['search_path', 'lock_timeout']) AS name;
