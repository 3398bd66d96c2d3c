-- Take back audit.grant_read(). With its last table, a role also loses its privileges on the trail.
-- SECURITY DEFINER: as audit.grant_read().
CREATE OR REPLACE FUNCTION audit.revoke_read(p_table regclass, p_role regrole)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $revoke_read$
DECLARE
    v_id integer := audit._check_tracked(p_table);
    v_object record;
BEGIN
    DELETE FROM audit.table_reader WHERE tracked_table_id = v_id AND role = p_role;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM audit.table_reader WHERE role = p_role) THEN
        FOR v_object IN SELECT * FROM audit._read_privileges(p_role) LOOP
            EXECUTE format('REVOKE %s FROM %s', v_object.privilege, p_role);
        END LOOP;
    END IF;
    PERFORM audit._record_act(v_id, 'revoke', jsonb_build_object('reader', p_role::text), NULL);
    RETURN true;
END;
$revoke_read$;

COMMENT ON FUNCTION audit.revoke_read(regclass, regrole) IS
    'Let a role no longer read the events of a table: takes back audit.grant_read(). Recorded in '
    'the trail. Returns false when it could not by such a grant. Raises '
    'object_not_in_prerequisite_state for a table never attached.';
REVOKE ALL ON FUNCTION audit.revoke_read(regclass, regrole) FROM PUBLIC;
