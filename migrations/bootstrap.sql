-- Run by env.py before every upgrade and downgrade, in the same transaction: checks the server,
-- makes the roles and the schema where they are missing, and goes on as the schema's owner, so
-- that every object belongs to it whoever deploys. Safe to run again.
-- Role names come from the settings audit.owner_role, audit.admin_role, audit.reader_role and
-- audit.nobody_role (alembic -x owner_role=NAME ...); empty means the default name, or the one given
-- at the installation. The owner alone must be named each time if it is not audit_owner: a schema
-- is never trusted for what it says of itself. schedule.sql or teardown.sql set role, search_path
-- and lock_timeout back at the end.

SELECT pg_catalog.set_config('audit.deploying_' || name, pg_catalog.current_setting(name), true)
  FROM pg_catalog.unnest(ARRAY['role', 'search_path', 'lock_timeout']) AS name;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '60s';
-- one upgrade at a time
SELECT pg_advisory_xact_lock(hashtextextended('audit_schema upgrade', 0));

DO $check$
DECLARE
    v_owner name := COALESCE(NULLIF(current_setting('audit.owner_role', true), ''), 'audit_owner');
    v_schema pg_namespace;
    v_object text;
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        RAISE EXCEPTION 'audit_schema needs PostgreSQL 15 or newer, this server is %',
                current_setting('server_version')
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Upgrade the server; nothing was changed.';
    END IF;

    SELECT * INTO v_schema FROM pg_namespace WHERE nspname = 'audit';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT object INTO v_object
      FROM (SELECT c.oid::regclass::text AS object FROM pg_class AS c
             WHERE c.relnamespace = v_schema.oid
            UNION ALL
            SELECT p.oid::regprocedure::text FROM pg_proc AS p
             WHERE p.pronamespace = v_schema.oid) AS found
     WHERE NOT EXISTS (SELECT FROM pg_class AS c
                        WHERE c.relnamespace = v_schema.oid AND c.relname = 'schema_version')
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema "audit" exists already and was not made by audit_schema: it holds %',
                v_object
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'Rename it (ALTER SCHEMA audit RENAME TO ...) or drop it, then upgrade again.';
    ELSIF pg_get_userbyid(v_schema.nspowner) <> v_owner THEN
        RAISE EXCEPTION 'schema "audit" belongs to role "%", not to "%"',
                pg_get_userbyid(v_schema.nspowner), v_owner
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('If you did not make it, rename it. If it was made empty for the '
                      'trail: ALTER SCHEMA audit OWNER TO %I; Only if you installed the trail under '
                      'that name yourself: alembic -x owner_role=%I ...',
                      v_owner, pg_get_userbyid(v_schema.nspowner));
    ELSIF EXISTS (SELECT FROM aclexplode(v_schema.nspacl) AS a
                   WHERE a.privilege_type = 'CREATE' AND a.grantee <> v_schema.nspowner) THEN
        RAISE EXCEPTION 'others than its owner may create objects in schema "audit"'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'REVOKE CREATE ON SCHEMA audit FROM each of them (column nspacl of '
                         'pg_namespace), then upgrade again.';
    END IF;
END;
$check$;

DO $roles$
DECLARE
    v_owner name := COALESCE(NULLIF(current_setting('audit.owner_role', true), ''), 'audit_owner');
    v_admin name := COALESCE(NULLIF(current_setting('audit.admin_role', true), ''), 'audit_admin');
    v_reader name := COALESCE(NULLIF(current_setting('audit.reader_role', true), ''), 'audit_reader');
    v_nobody name := COALESCE(NULLIF(current_setting('audit.nobody_role', true), ''), 'audit_nobody');
    -- to act as a role is since 16 more than to be a member of it
    v_act text := CASE WHEN current_setting('server_version_num')::integer < 160000
                       THEN 'MEMBER' ELSE 'SET' END;
    v_missing name[];
    v_role name;
    v_member name;
    v_partman name;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = v_owner AND pg_has_role(oid, v_act)) THEN
        IF to_regclass('audit.setting') IS NOT NULL THEN
            SELECT admin_role, reader_role, nobody_role INTO v_admin, v_reader, v_nobody
              FROM audit.setting;
        END IF;
    END IF;

    IF v_nobody IN (v_owner, v_admin, v_reader) OR EXISTS (
            SELECT FROM pg_roles AS r
             WHERE r.rolname = v_nobody
               AND (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication
                    OR rolbypassrls
                    OR EXISTS (SELECT FROM pg_auth_members AS m WHERE m.member = r.oid))) THEN
        RAISE EXCEPTION 'role "%" has rights of its own, and foreign code runs as it', v_nobody
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name a role that cannot log in and may do nothing: -x nobody_role=...';
    END IF;

    /* roles: made when missing, never altered; the comment tells teardown.sql which */
    SELECT array_agg(name) INTO v_missing
      FROM unnest(ARRAY[v_owner, v_admin, v_reader, v_nobody]) AS name
     WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);
    IF v_missing IS NOT NULL AND NOT (
            SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'role "%" may not create roles, and these do not exist: %',
                current_user, array_to_string(v_missing, ', ')
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Have a DBA run: %s GRANT %I TO %I; GRANT %I TO %I; Or name existing '
                      'roles: alembic -x owner_role=... -x admin_role=... -x reader_role=... '
                      '-x nobody_role=... upgrade head',
                      (SELECT string_agg(format('CREATE ROLE %I NOLOGIN;', name), ' ')
                         FROM unnest(v_missing) AS name),
                      v_owner, current_user, v_nobody, v_owner);
    END IF;
    FOREACH v_role IN ARRAY COALESCE(v_missing, '{}') LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        EXECUTE format('COMMENT ON ROLE %I IS ''made by audit_schema''', v_role);
    END LOOP;

    /* we must be able to act as the owner, and the owner as nobody */
    FOR v_member, v_role IN
        SELECT a.member, a.role
          FROM (VALUES (current_user, v_owner), (v_owner, v_nobody)) AS a (member, role)
         WHERE NOT pg_has_role(a.member, a.role, v_act)
    LOOP
        BEGIN
            EXECUTE format('GRANT %I TO %I', v_role, v_member);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'role "%" may not act as "%"', v_member, v_role
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Have a DBA run: GRANT %I TO %I;', v_role, v_member);
        END;
    END LOOP;

    /* let the owner use pg_partman, where we may grant that */
    SELECT n.nspname INTO v_partman
      FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_partman' AND pg_has_role(n.nspowner, 'USAGE');
    IF FOUND THEN
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', v_partman, v_owner);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I',
                       v_partman, v_owner);
    END IF;

    IF to_regnamespace('audit') IS NULL THEN
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE EXCEPTION 'role "%" may not create schemas in database "%"',
                    current_user, current_database()
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('Have a DBA run: GRANT CREATE ON DATABASE %I TO %I;',
                                    current_database(), current_user);
        END IF;
        EXECUTE format('CREATE SCHEMA audit AUTHORIZATION %I', v_owner);
    END IF;
    PERFORM set_config('audit.admin_role', v_admin, true),
            set_config('audit.reader_role', v_reader, true),
            set_config('audit.nobody_role', v_nobody, true),
            set_config('role', v_owner, true);

    /* our own schema without its version: somebody edited by hand */
    IF to_regclass('audit.event') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM audit.schema_version) THEN
            RAISE EXCEPTION 'schema "audit" is half installed: audit.schema_version is empty'
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Write its revision back: INSERT INTO audit.schema_version VALUES '
                             '(REVISION); or drop schema audit if nothing in it is worth keeping.';
        END IF;
    END IF;
END;
$roles$;

-- what this upgrade finds altered it will take for right, unless it replaces it: say so
DO $altered$
DECLARE
    v_altered text;
BEGIN
    IF to_regproc('audit._object_problems') IS NOT NULL THEN
        SELECT string_agg(format('%s: %s', p.subject, p.problem), '; ') INTO v_altered
          FROM audit._object_problems() AS p;
        IF v_altered IS NOT NULL THEN
            RAISE WARNING 'the schema audit is not as the last upgrade left it: %', v_altered
                USING HINT = 'Find out who did it: what is not replaced now, audit.check() takes for '
                             'right from now on.';
        END IF;
    END IF;
END;
$altered$;
