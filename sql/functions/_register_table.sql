-- Write the row of a table in audit.tracked_table and return its id.
-- Called by audit.attach(). SECURITY DEFINER: an administrator attaches, only the owner writes
-- our tables. A table that was detached, or dropped and made again, goes on under its old id. What
-- is not the first time a table is attached, and changes something, is recorded in the trail.
CREATE OR REPLACE FUNCTION audit._register_table(
    p_table regclass,
    p_wanted audit.tracked_table)
    RETURNS integer
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_register_table$
DECLARE
    v_before audit.tracked_table;
    v_after audit.tracked_table;
BEGIN
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
       AND (k.mode, k.key_columns, k.key_is_unique, k.policy, k.require_actor, k.enable_always)
           = (p_wanted.mode, p_wanted.key_columns, p_wanted.key_is_unique, p_wanted.policy,
              p_wanted.require_actor, p_wanted.enable_always);
    IF FOUND THEN
        RETURN v_before.id;
    END IF;

    PERFORM audit._lock_tracked_tables();
    PERFORM audit._refresh_tracked_tables();
    SELECT * INTO v_before FROM audit.tracked_table WHERE id = audit._tracked_table_id(p_table);
    IF NOT FOUND THEN
        INSERT INTO audit.tracked_table (
            schema_name, table_name, mode, key_columns, key_is_unique, policy, require_actor,
            enable_always, attached_by)
        SELECT n.nspname, c.relname, p_wanted.mode, p_wanted.key_columns, p_wanted.key_is_unique,
               p_wanted.policy, p_wanted.require_actor, p_wanted.enable_always, session_user
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = p_table
        RETURNING * INTO v_after;
        RETURN v_after.id;
    END IF;

    v_after := v_before;
    v_after.mode := p_wanted.mode;
    v_after.key_columns := p_wanted.key_columns;
    v_after.key_is_unique := p_wanted.key_is_unique;
    v_after.policy := p_wanted.policy;
    v_after.require_actor := p_wanted.require_actor;
    v_after.enable_always := p_wanted.enable_always;
    v_after.detached_at := NULL;
    IF v_before.detached_at IS NOT NULL THEN
        v_after.attached_at := now();
        v_after.attached_by := session_user;
        DELETE FROM audit.baseline WHERE tracked_table_id = v_after.id;
    END IF;
    IF v_after IS DISTINCT FROM v_before THEN
        UPDATE audit.tracked_table
           SET (mode, key_columns, key_is_unique, policy, require_actor, enable_always,
                attached_at, attached_by, detached_at)
               = (v_after.mode, v_after.key_columns, v_after.key_is_unique, v_after.policy,
                  v_after.require_actor, v_after.enable_always, v_after.attached_at,
                  v_after.attached_by, v_after.detached_at)
         WHERE id = v_after.id;
        PERFORM audit._record_act(v_after.id, 'attach', to_jsonb(v_before), to_jsonb(v_after));
    END IF;
    RETURN v_after.id;
END;
$_register_table$;

COMMENT ON FUNCTION audit._register_table(regclass, audit.tracked_table) IS
    'Internal: write the row of a table in audit.tracked_table; returns its id.';
REVOKE ALL ON FUNCTION audit._register_table(regclass, audit.tracked_table) FROM PUBLIC;
