-- Write the row of a table in audit.tracked_table and return its id.
-- Called by audit.attach(). SECURITY DEFINER: an administrator attaches, only the owner writes
-- our tables. A table that was detached, or dropped and made again, goes on under its old id.
CREATE OR REPLACE FUNCTION audit._register_table(
    p_table regclass,
    p_mode text,
    p_key_columns text[])
    RETURNS integer
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_register_table$
DECLARE
    v_schema text;
    v_name text;
    v_id integer;
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
    SELECT k.id INTO v_id
      FROM audit.tracked_table AS k
      JOIN pg_class AS c ON c.oid = p_table AND c.relname = k.table_name
      JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = k.schema_name
     WHERE k.id = audit._tracked_table_id(p_table) AND k.mode = p_mode
       AND k.key_columns = p_key_columns AND k.detached_at IS NULL;
    IF FOUND THEN
        RETURN v_id;
    END IF;

    PERFORM audit._lock_tracked_tables();
    PERFORM audit._refresh_tracked_tables();
    SELECT n.nspname, c.relname INTO v_schema, v_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = p_table;

    v_id := audit._tracked_table_id(p_table);
    IF v_id IS NULL THEN
        INSERT INTO audit.tracked_table (schema_name, table_name, mode, key_columns, attached_by)
        VALUES (v_schema, v_name, p_mode, p_key_columns, session_user)
        RETURNING id INTO v_id;
    ELSE
        UPDATE audit.tracked_table
           SET mode = p_mode,
               key_columns = p_key_columns,
               attached_at = CASE WHEN detached_at IS NULL THEN attached_at ELSE now() END,
               attached_by = CASE WHEN detached_at IS NULL THEN attached_by ELSE session_user END,
               detached_at = NULL
         WHERE id = v_id
           AND (mode, key_columns, detached_at) IS DISTINCT FROM (p_mode, p_key_columns, NULL);
    END IF;
    RETURN v_id;
END;
$_register_table$;

COMMENT ON FUNCTION audit._register_table(regclass, text, text[]) IS
    'Internal: write the row of a table in audit.tracked_table; returns its id.';
REVOKE ALL ON FUNCTION audit._register_table(regclass, text, text[]) FROM PUBLIC;
