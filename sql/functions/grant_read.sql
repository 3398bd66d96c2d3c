-- Let a role read the events of one table, by most of what a reader of all reads by; row security
-- (policy reader_of_tables) leaves out the events of other tables.
-- SECURITY DEFINER: an administrator grants, only the owner writes our tables. The lock keeps
-- grants, revokes and upgrades from doing and undoing half of each other's work.
CREATE OR REPLACE FUNCTION audit.grant_read(p_table regclass, p_role text)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $grant_read$
DECLARE
    v_id integer := audit._check_tracked(p_table);
    v_setting audit.setting;
    v_is_new boolean;
    v_privilege text;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) OR p_role IS NULL THEN
        RAISE EXCEPTION 'role % does not exist', COALESCE(quote_ident(p_role), 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = 'Name a role, such as audit.grant_read(''public.orders'', ''support'').';
    ELSIF p_role = v_setting.nobody_role THEN
        RAISE EXCEPTION 'role % must not have any rights: foreign code runs as it', p_role
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name another role.';
    ELSIF pg_has_role(p_role, v_setting.reader_role, 'USAGE')
            OR pg_has_role(p_role, v_setting.admin_role, 'USAGE')
            OR pg_has_role(p_role, current_user, 'USAGE') THEN
        RAISE EXCEPTION 'role % reads the events of all tables already', p_role
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name the role that shall read this table only.';
    END IF;

    LOCK TABLE audit.table_reader IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO audit.table_reader (tracked_table_id, role) VALUES (v_id, p_role)
        ON CONFLICT DO NOTHING;
    v_is_new := FOUND;
    FOR v_privilege IN SELECT * FROM audit._privileges('{table reader}') LOOP
        EXECUTE format('GRANT %s TO %I', v_privilege, p_role);
    END LOOP;
    IF v_is_new THEN
        PERFORM audit._record_act(v_id, 'grant', NULL, jsonb_build_object('reader', p_role));
    END IF;
    RETURN v_is_new;
END;
$grant_read$;

COMMENT ON FUNCTION audit.grant_read(regclass, text) IS
    'Let a role and its members read the events of one table, with the views and read functions; '
    'those of other tables stay hidden from them. Recorded in the trail. Returns false when it '
    'could already. For all tables, grant the role of the readers (audit_reader) instead. Raises '
    'object_not_in_prerequisite_state for a table never attached, undefined_object for no role, '
    'invalid_parameter_value for one that reads all tables or must have no rights.';
REVOKE ALL ON FUNCTION audit.grant_read(regclass, text) FROM PUBLIC;
