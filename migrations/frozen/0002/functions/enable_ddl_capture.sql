-- Record DDL on attached tables from now on; returns what was done or what a DBA must do.
-- Runs with the caller's rights: event triggers take a superuser. Safe to run again.
CREATE OR REPLACE FUNCTION audit.enable_ddl_capture()
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $enable_ddl_capture$
DECLARE
    v_trigger record;
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN 'not recorded: a superuser must run: SELECT audit.enable_ddl_capture();';
    END IF;
    FOR v_trigger IN
        SELECT w.name, w.event, e.evtenabled
          FROM (VALUES ('audit_ddl_command_end', 'ddl_command_end'),
                       ('audit_sql_drop', 'sql_drop')) AS w (name, event)
          LEFT JOIN pg_event_trigger AS e ON e.evtname = w.name
    LOOP
        IF v_trigger.evtenabled IS NULL THEN
            EXECUTE format('CREATE EVENT TRIGGER %I ON %s EXECUTE FUNCTION audit.capture_ddl()',
                           v_trigger.name, v_trigger.event);
        ELSIF v_trigger.evtenabled NOT IN ('O', 'A') THEN
            EXECUTE format('ALTER EVENT TRIGGER %I ENABLE', v_trigger.name);
        END IF;
    END LOOP;
    UPDATE audit.setting SET captures_ddl = true WHERE NOT captures_ddl;
    RETURN 'recorded';
END;
$enable_ddl_capture$;

COMMENT ON FUNCTION audit.enable_ddl_capture() IS
    'Record DDL on attached tables as events of action ddl, by event triggers; where that cannot '
    'be done, returns what a superuser must run.';
REVOKE ALL ON FUNCTION audit.enable_ddl_capture() FROM PUBLIC;
