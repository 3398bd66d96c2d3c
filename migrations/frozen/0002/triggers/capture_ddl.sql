-- Record DDL on attached tables and their partitions, and on the triggers that capture them.
-- Fired at the end of each DDL command, and after each one that drops something; made an event
-- trigger by audit.enable_ddl_capture(). SECURITY DEFINER: who runs the command has no right on the
-- trail. What audit.attach() does itself is recorded as that: a trigger that is as it should be is
-- no news.
CREATE OR REPLACE FUNCTION audit.capture_ddl()
    RETURNS event_trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $capture_ddl$
DECLARE
    v_command record;
BEGIN
    IF TG_EVENT = 'sql_drop' THEN
        FOR v_command IN
            SELECT k.id, d.object_identity
              FROM pg_event_trigger_dropped_objects() AS d
              JOIN audit.tracked_table AS k ON k.detached_at IS NULL
                   AND (k.schema_name, k.table_name) = (d.address_names[1], d.address_names[2])
              JOIN pg_namespace AS n ON n.nspname = k.schema_name
              JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = k.table_name
             WHERE d.object_type = 'trigger' AND d.address_names[3] LIKE '\_audit\_%'
        LOOP
            PERFORM audit._record_act(v_command.id, 'ddl', NULL, jsonb_build_object(
                'command', TG_TAG, 'object', v_command.object_identity));
        END LOOP;
        IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS d
                     JOIN audit.tracked_table AS k ON k.detached_at IS NULL
                          AND (k.schema_name, k.table_name) = (d.schema_name, d.object_name)) THEN
            PERFORM audit._refresh_tracked_tables();
        END IF;
        RETURN;
    END IF;

    FOR v_command IN
        SELECT DISTINCT k.id, d.command_tag, d.object_identity
          FROM pg_event_trigger_ddl_commands() AS d
          LEFT JOIN pg_trigger AS made ON d.classid = 'pg_trigger'::regclass AND made.oid = d.objid
          JOIN pg_trigger AS t ON t.tgrelid = COALESCE(made.tgrelid, d.objid)
               AND t.tgname IN ('_audit_insert', '_audit_update', '_audit_delete')
          JOIN audit.tracked_table AS k ON k.id = audit._argument_id(t.tgargs)
         WHERE d.classid IN ('pg_class'::regclass, 'pg_trigger'::regclass)
           AND (made.oid IS NULL OR pg_get_triggerdef(made.oid) NOT IN (
                SELECT audit._trigger_definitions(made.tgrelid, k)))
    LOOP
        PERFORM audit._record_act(v_command.id, 'ddl', NULL, jsonb_build_object(
            'command', v_command.command_tag, 'object', v_command.object_identity));
        PERFORM audit._refresh_tracked_tables();
    END LOOP;
END;
$capture_ddl$;

COMMENT ON FUNCTION audit.capture_ddl() IS
    'Event trigger function: record DDL on attached tables. See audit.enable_ddl_capture().';
REVOKE ALL ON FUNCTION audit.capture_ddl() FROM PUBLIC;
