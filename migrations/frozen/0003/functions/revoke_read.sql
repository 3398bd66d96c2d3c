-- Take back audit.grant_read(); also of tables and roles that are gone, by p_table NULL. With its
-- last table, a role also loses its privileges on the trail. SECURITY DEFINER and lock: as
-- audit.grant_read().
CREATE OR REPLACE FUNCTION audit.revoke_read(p_table regclass, p_role text)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $revoke_read$
DECLARE
    v_id integer := CASE WHEN p_table IS NOT NULL THEN audit._check_tracked(p_table) END;
    v_ids integer[];
    v_privilege text;
BEGIN
    LOCK TABLE audit.table_reader IN SHARE ROW EXCLUSIVE MODE;
    WITH gone AS (
        DELETE FROM audit.table_reader
         WHERE role = p_role AND (p_table IS NULL OR tracked_table_id = v_id)
        RETURNING tracked_table_id)
    SELECT COALESCE(array_agg(g.tracked_table_id), '{}') INTO v_ids FROM gone AS g;
    IF v_ids <> '{}' AND NOT EXISTS (SELECT FROM audit.table_reader WHERE role = p_role)
            AND EXISTS (SELECT FROM pg_roles WHERE rolname = p_role) THEN
        FOR v_privilege IN SELECT * FROM audit._privileges('{table reader}') LOOP
            EXECUTE format('REVOKE %s FROM %I', v_privilege, p_role);
        END LOOP;
    END IF;
    PERFORM audit._record_act(id, 'revoke', jsonb_build_object('reader', p_role), NULL)
       FROM unnest(v_ids) AS id;
    RETURN v_ids <> '{}';
END;
$revoke_read$;

COMMENT ON FUNCTION audit.revoke_read(regclass, text) IS
    'Let a role no longer read the events of a table, or of any that it was granted if table is '
    'NULL: takes back audit.grant_read(). Recorded in the trail. Returns false when there was '
    'nothing to take back. Raises object_not_in_prerequisite_state for a table never attached.';
REVOKE ALL ON FUNCTION audit.revoke_read(regclass, text) FROM PUBLIC;
