-- Capture the changes of a table from now on.
-- Runs with the caller's rights: making triggers needs the TRIGGER privilege on the table.
-- Safe to run again: a table attached the same way is left alone and not locked. Otherwise
-- CREATE TRIGGER waits for running writers and others queue behind it; set lock_timeout first.
CREATE OR REPLACE FUNCTION audit.attach(
    p_table regclass,
    p_mode text DEFAULT 'statement',
    p_key_columns text[] DEFAULT NULL)
    RETURNS integer
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET standard_conforming_strings = on
    SET quote_all_identifiers = off
AS $attach$
DECLARE
    v_mode text;
    v_key_columns text[];
    v_id integer;
    v_trigger name;
    v_definition text;
BEGIN
    PERFORM audit._check_attachable(p_table);
    v_mode := audit._check_mode(p_table, p_mode);
    v_key_columns := audit._check_key(p_table, p_key_columns);
    v_id := audit._register_table(p_table, v_mode, v_key_columns);

    /* a trigger of ours under another name would record everything twice */
    FOR v_trigger IN
        SELECT t.tgname FROM pg_trigger AS t
         WHERE t.tgrelid = p_table AND t.tgparentid = 0
           AND t.tgfoid IN (SELECT p.oid FROM pg_proc AS p
                             WHERE p.pronamespace = 'audit'::regnamespace
                               AND p.proname LIKE 'capture\_%')
           AND t.tgname NOT IN (
               '_audit_insert', '_audit_update', '_audit_delete', '_audit_truncate')
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', v_trigger, p_table);
    END LOOP;
    FOR v_definition IN
        SELECT * FROM audit._missing_triggers(p_table, v_mode, v_id, v_key_columns)
    LOOP
        EXECUTE overlay(v_definition PLACING 'CREATE OR REPLACE' FROM 1 FOR 6);
    END LOOP;
    RETURN v_id;
END;
$attach$;

COMMENT ON FUNCTION audit.attach(regclass, text, text[]) IS
    'Start to record the changes of a table; returns its id in audit.tracked_table. Modes: '
    'statement (all rows of a statement together, the default) or row; a table that is partitioned '
    'or inherits is always captured by row. Key columns default to the primary key; a table '
    'without one is allowed, its row_key is the whole row. Safe to run again. Needs the TRIGGER '
    'privilege on the table. Raises wrong_object_type, undefined_column, invalid_parameter_value, '
    'insufficient_privilege.';
REVOKE ALL ON FUNCTION audit.attach(regclass, text, text[]) FROM PUBLIC;
