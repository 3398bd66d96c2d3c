-- Refuse, with the reason and the way out, a relation that audit.attach() cannot capture.
CREATE OR REPLACE FUNCTION audit._check_attachable(p_table regclass)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_attachable$
DECLARE
    v_class pg_class;
    v_schema text;
    v_casts text := audit._foreign_casts(p_table);
BEGIN
    IF p_table IS NULL THEN
        RAISE EXCEPTION 'table must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Name a table, such as audit.attach(''public.orders'').';
    END IF;
    SELECT * INTO v_class FROM pg_class WHERE oid = p_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no table with oid %', p_table::oid
            USING ERRCODE = 'undefined_table',
                  HINT = 'Name a table, such as audit.attach(''public.orders'').';
    END IF;
    v_schema := (SELECT nspname FROM pg_namespace WHERE oid = v_class.relnamespace);

    IF v_schema IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
        RAISE EXCEPTION '% is a system catalog and cannot be attached', p_table
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Attach tables of your own; pgaudit logs changes of the catalogs.';
    ELSIF v_schema = 'audit' THEN
        RAISE EXCEPTION '% belongs to the audit trail itself and cannot be attached', p_table
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach tables of your own.';
    ELSIF v_class.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is %, not a table, and cannot be attached', p_table,
                CASE v_class.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
                    WHEN 'f' THEN 'a foreign table' WHEN 'S' THEN 'a sequence'
                    WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index' ELSE 'a composite type' END
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach the table that holds the rows.';
    ELSIF v_class.relpersistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table and cannot be attached', p_table
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Its rows vanish with the session; attach the tables they go to.';
    ELSIF v_class.relispartition THEN
        RAISE EXCEPTION '% is a partition and cannot be attached by itself', p_table
            USING ERRCODE = 'wrong_object_type',
                  HINT = format('Attach its parent: SELECT audit.attach(%L);', (
                      SELECT i.inhparent::regclass FROM pg_inherits AS i
                       WHERE i.inhrelid = p_table));
    ELSIF NOT has_table_privilege(p_table, 'TRIGGER') THEN
        RAISE EXCEPTION 'role "%" may not create triggers on %', current_user, p_table
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Have its owner run: GRANT TRIGGER ON %s TO %I;',
                                p_table, current_user);
    END IF;

    IF v_casts IS NOT NULL THEN
        RAISE NOTICE 'capture of % calls casts to json: %', p_table, v_casts
            USING HINT = 'They run without any right and cannot write: what they read must be '
                         'open to PUBLIC, else writes to the table fail.';
    END IF;
END;
$_check_attachable$;

COMMENT ON FUNCTION audit._check_attachable(regclass) IS
    'Internal: raise an error for a relation that cannot be attached.';
REVOKE ALL ON FUNCTION audit._check_attachable(regclass) FROM PUBLIC;
