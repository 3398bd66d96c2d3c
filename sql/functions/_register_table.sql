-- Write the row of a table in audit.tracked_table and return its id, and whether the table was
-- attached just so already: one look tells, for between two another session may have detached it.
-- Called by audit.attach(). SECURITY DEFINER: an administrator attaches, only the owner writes
-- our tables. A table that was detached, or dropped and made again, goes on under its old id. What
-- is not the first time a table is attached, and changes something, is recorded in the trail.
CREATE OR REPLACE FUNCTION audit._register_table(
    p_table regclass,
    p_wanted audit.tracked_table,
    OUT id integer,
    OUT is_same boolean)
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_register_table$
DECLARE
    v_before audit.tracked_table;
    v_after audit.tracked_table;
BEGIN
    is_same := false;
    /* current_user is the owner here: who called is the role that was set, or who logged in */
    IF NOT has_table_privilege(COALESCE(NULLIF(current_setting('role'), 'none'), session_user),
                               p_table, 'TRIGGER') THEN
        RAISE EXCEPTION 'role "%" may not create triggers on %',
                COALESCE(NULLIF(current_setting('role'), 'none'), session_user), p_table
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Have the owner of the table attach it, or grant TRIGGER on it.';
    END IF;

    /* nothing to do, and so no lock, when all is as it was */
    SELECT k.* INTO v_before
      FROM audit.tracked_table AS k
      JOIN pg_class AS c ON c.oid = p_table AND c.relname = k.table_name
      JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = k.schema_name
     WHERE k.id = audit._tracked_table_id(p_table) AND k.detached_at IS NULL
       AND (k.mode, k.key_columns, k.key_is_unique, k.policy, k.require_actor, k.enable_always,
            k.truncated_rows)
           = (p_wanted.mode, p_wanted.key_columns, p_wanted.key_is_unique, p_wanted.policy,
              p_wanted.require_actor, p_wanted.enable_always, p_wanted.truncated_rows)
       AND NOT EXISTS (SELECT FROM audit._missing_triggers(p_table, k))
       AND NOT EXISTS (SELECT FROM audit._stray_triggers(p_table));
    IF FOUND THEN
        id := v_before.id;
        is_same := true;
        RETURN;
    END IF;

    PERFORM audit._lock_tracked_tables();
    PERFORM audit._refresh_tracked_tables();
    SELECT k.* INTO v_before
      FROM audit.tracked_table AS k WHERE k.id = audit._tracked_table_id(p_table);
    IF NOT FOUND THEN
        INSERT INTO audit.tracked_table (
            schema_name, table_name, mode, key_columns, key_is_unique, policy, require_actor,
            enable_always, truncated_rows, attached_by)
        SELECT n.nspname, c.relname, p_wanted.mode, p_wanted.key_columns, p_wanted.key_is_unique,
               p_wanted.policy, p_wanted.require_actor, p_wanted.enable_always,
               p_wanted.truncated_rows, session_user
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = p_table
        RETURNING * INTO v_after;
        id := v_after.id;
        RETURN;
    END IF;

    UPDATE audit.tracked_table AS k
       SET mode = p_wanted.mode,
           key_columns = p_wanted.key_columns,
           key_is_unique = p_wanted.key_is_unique,
           policy = p_wanted.policy,
           require_actor = p_wanted.require_actor,
           enable_always = p_wanted.enable_always,
           truncated_rows = p_wanted.truncated_rows,
           attached_at = CASE WHEN k.detached_at IS NULL THEN k.attached_at ELSE now() END,
           attached_by = CASE WHEN k.detached_at IS NULL THEN k.attached_by ELSE session_user END,
           detached_at = NULL
     WHERE k.id = v_before.id
       AND (k.mode, k.key_columns, k.key_is_unique, k.policy, k.require_actor, k.enable_always,
            k.truncated_rows, k.detached_at)
           IS DISTINCT FROM (p_wanted.mode, p_wanted.key_columns, p_wanted.key_is_unique,
                             p_wanted.policy, p_wanted.require_actor, p_wanted.enable_always,
                             p_wanted.truncated_rows, NULL)
    RETURNING * INTO v_after;
    IF FOUND THEN
        DELETE FROM audit.baseline
         WHERE tracked_table_id = v_before.id AND v_before.detached_at IS NOT NULL;
        PERFORM audit._record_act(v_before.id, 'attach', to_jsonb(v_before), to_jsonb(v_after));
    END IF;
    id := v_before.id;
END;
$_register_table$;

COMMENT ON FUNCTION audit._register_table(regclass, audit.tracked_table) IS
    'Internal: write the row of a table in audit.tracked_table; returns its id and whether the '
    'table was attached so already.';
REVOKE ALL ON FUNCTION audit._register_table(regclass, audit.tracked_table) FROM PUBLIC;
