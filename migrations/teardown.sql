-- Run by env.py after a downgrade to base, as the deploying role: takes away what bootstrap.sql made.
-- A role stays where something else still needs it (another database of the cluster, a member).

SELECT set_config('role', current_setting('audit.deploying_role'), true);
DROP TABLE audit.schema_version;
DROP SCHEMA audit;

DO $teardown$
DECLARE
    v_role record;
BEGIN
    FOR v_role IN
        SELECT r.rolname,
               EXISTS (SELECT FROM pg_auth_members AS m
                         JOIN pg_roles AS u ON u.oid = m.member
                        WHERE m.roleid = r.oid AND u.rolname <> current_user
                          AND u.rolname NOT IN ('audit_owner', 'audit_admin')) AS has_members
          FROM pg_roles AS r
         WHERE r.rolname IN ('audit_owner', 'audit_admin', 'audit_reader')
    LOOP
        BEGIN
            IF v_role.has_members THEN
                RAISE NOTICE 'role "%" is kept: it has members', v_role.rolname;
            ELSE
                EXECUTE format('DROP OWNED BY %I', v_role.rolname);
                EXECUTE format('DROP ROLE %I', v_role.rolname);
            END IF;
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE NOTICE 'role "%" is kept: %', v_role.rolname, SQLERRM;
        END;
    END LOOP;
END;
$teardown$;

-- a caller's transaction may go on after us
SELECT set_config('search_path', current_setting('audit.deploying_search_path'), true);
