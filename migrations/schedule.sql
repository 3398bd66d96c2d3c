-- Run by env.py after an upgrade or downgrade, as the deploying role again: its jobs run as itself,
-- since the owner of the trail cannot log in. Before revision 0001 there is nothing to schedule.

SELECT set_config('role', current_setting('audit.deploying_role'), true);
SELECT audit.schedule_jobs();

-- a caller's transaction may go on after us
SELECT set_config('search_path', current_setting('audit.deploying_search_path'), true);
