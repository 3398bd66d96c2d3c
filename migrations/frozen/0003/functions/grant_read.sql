-- Let a role read the events of one table, through everything that a reader of all reads through;
-- row security (policy reader_of_tables) leaves out the events of other tables.
-- SECURITY DEFINER: an administrator grants, only the owner writes our tables. The privileges are
-- those of the readers of all, but for the counts by actor, which are of all tables.
CREATE OR REPLACE FUNCTION audit.grant_read(p_table regclass, p_role regrole)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $grant_read$
DECLARE
    v_id integer := audit._check_tracked(p_table);
BEGIN
    IF p_role IS NULL OR p_role = 0 THEN
        RAISE EXCEPTION 'role must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Name a role, such as audit.grant_read(''public.orders'', ''support'').';
    END IF;
    IF p_role::text IN (SELECT unnest(ARRAY[quote_ident(s.reader_role), quote_ident(s.admin_role)])
                          FROM audit.setting AS s) THEN
        RAISE EXCEPTION 'role % reads the events of all tables already', p_role
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name the role that shall read this table only.';
    END IF;
    INSERT INTO audit.table_reader (tracked_table_id, role) VALUES (v_id, p_role)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM audit._grant_readers(p_role);
    PERFORM audit._record_act(v_id, 'grant', NULL, jsonb_build_object('reader', p_role::text));
    RETURN true;
END;
$grant_read$;

COMMENT ON FUNCTION audit.grant_read(regclass, regrole) IS
    'Let a role and its members read the events of one table, with the views and read functions; '
    'those of other tables stay hidden from them. Recorded in the trail. Returns false when it '
    'could already. For all tables, grant the role of the readers (audit_reader) instead. Raises '
    'object_not_in_prerequisite_state for a table never attached, undefined_object for no role.';
REVOKE ALL ON FUNCTION audit.grant_read(regclass, regrole) FROM PUBLIC;
