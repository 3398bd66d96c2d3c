-- Capture the changes of a table from now on.
-- Runs with the caller's rights: making triggers needs the TRIGGER privilege on the table.
-- Safe to run again: a table attached the same way is left alone and not locked. Otherwise
-- CREATE TRIGGER waits for running writers and others queue behind it; set lock_timeout first.
CREATE OR REPLACE FUNCTION audit.attach(
    p_table regclass,
    p_mode text DEFAULT 'statement',
    p_key_columns text[] DEFAULT NULL,
    p_exclude text[] DEFAULT '{}',
    p_only text[] DEFAULT '{}',
    p_redact text[] DEFAULT '{}',
    p_hash text[] DEFAULT '{}',
    p_require_actor boolean DEFAULT false,
    p_enable_always boolean DEFAULT false,
    p_baseline boolean DEFAULT false,
    p_truncated_rows boolean DEFAULT false)
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
    v_is_same boolean;
    v_tracked audit.tracked_table;
    v_trigger name;
    v_definition text;
BEGIN
    PERFORM audit._check_attachable(p_table);
    v_mode := audit._check_mode(p_table, p_mode);
    v_key_columns := audit._check_key(p_table, p_key_columns);
    SELECT * INTO v_tracked
      FROM jsonb_populate_record(NULL::audit.tracked_table, jsonb_build_object(
               'mode', v_mode,
               'key_columns', v_key_columns,
               'key_is_unique', audit._is_unique_key(p_table, v_key_columns),
               'policy', audit._check_policy(
                   p_table, v_key_columns, p_exclude, p_only, p_redact, p_hash),
               'require_actor', COALESCE(p_require_actor, false),
               'enable_always', COALESCE(p_enable_always, false),
               'truncated_rows', COALESCE(p_truncated_rows, false)));
    IF v_tracked.truncated_rows THEN
        PERFORM audit._check_readable(p_table);
    END IF;
    SELECT r.id, r.is_same INTO v_id, v_is_same
      FROM audit._register_table(p_table, v_tracked) AS r;
    IF NOT v_is_same THEN
        SELECT * INTO STRICT v_tracked FROM audit.tracked_table WHERE id = v_id;
        FOR v_trigger IN SELECT * FROM audit._stray_triggers(p_table) LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', v_trigger, p_table);
        END LOOP;
        FOR v_definition IN SELECT * FROM audit._missing_triggers(p_table, v_tracked) LOOP
            EXECUTE overlay(v_definition PLACING 'CREATE OR REPLACE' FROM 1 FOR 6);
            IF v_tracked.enable_always THEN
                EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', p_table,
                               substring(v_definition FROM 'CREATE TRIGGER (\w+)'));
            END IF;
        END LOOP;
    END IF;
    IF p_baseline THEN
        WHILE audit.record_baseline(p_table) > 0 LOOP
            NULL;
        END LOOP;
    END IF;
    RETURN v_id;
END;
$attach$;

COMMENT ON FUNCTION audit.attach(
    regclass, text, text[], text[], text[], text[], text[], boolean, boolean, boolean,
    boolean) IS
    'Start to record the changes of a table; returns its id in audit.tracked_table. Modes: '
    'statement (all rows of a statement together, the default) or row; a table that is partitioned '
    'or inherits is always captured by row. Key columns default to the primary key; a table '
    'without one is allowed, its row_key is the whole row. Exclude: columns that are not recorded. '
    'Only: leave out all columns but these, the key and the masked ones. Redact: columns recorded '
    'as a constant. Hash: columns recorded as HMAC-SHA-256. Require actor: whether writes without '
    'an actor fail (check_violation). Enable always: capture also what logical replication applies '
    'and sessions with session_replication_role = replica write; takes the owner of the table. '
    'Baseline: also record the rows that are there, in this transaction, which locks the table; '
    'of a large one, call audit.record_baseline() afterwards. Truncated rows: whether TRUNCATE '
    'records each row that it removes; the owner of the trail must be able to read the table. Safe '
    'to run again; each call says all: what it leaves out goes back to its default. Needs the '
    'TRIGGER privilege on the table. Raises wrong_object_type, undefined_column, '
    'invalid_parameter_value, insufficient_privilege.';
REVOKE ALL ON FUNCTION audit.attach(
    regclass, text, text[], text[], text[], text[], text[], boolean, boolean, boolean,
    boolean) FROM PUBLIC;
