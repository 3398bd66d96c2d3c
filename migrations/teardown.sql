-- Run by env.py after a downgrade to base, as the deploying role: takes away what bootstrap.sql made.
-- Roles of other names than the default ones were there before us and stay; a default one stays
-- where something else still needs it (another database of the cluster, a member).

SELECT set_config('role', current_setting('audit.deploying_role'), true);
DO $teardown$
DECLARE
    v_owner name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'audit');
    v_partman name := (SELECT n.nspname FROM pg_extension AS e
                         JOIN pg_namespace AS n ON n.oid = e.extnamespace
                        WHERE e.extname = 'pg_partman' AND pg_has_role(n.nspowner, 'USAGE'));
    v_role name;
BEGIN
    DROP TABLE audit.schema_version;
    DROP SCHEMA audit;
    IF v_partman IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', v_partman, v_owner);
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', v_partman, v_owner);
    END IF;

    FOR v_role IN
        SELECT rolname FROM pg_roles WHERE rolname IN ('audit_owner', 'audit_admin', 'audit_reader')
         ORDER BY rolname
    LOOP
        IF EXISTS (SELECT FROM pg_auth_members AS m
                    WHERE m.roleid = quote_ident(v_role)::regrole
                      AND m.member <> quote_ident(current_user)::regrole
                      AND pg_get_userbyid(m.member) <> 'audit_admin') THEN
            RAISE NOTICE 'role "%" is kept: it has members', v_role;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', v_role);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            RAISE NOTICE 'role "%" is kept: %', v_role, SQLERRM;
        END;
    END LOOP;
END;
$teardown$;

-- a caller's transaction may go on after us
SELECT set_config('search_path', current_setting('audit.deploying_search_path'), true);
