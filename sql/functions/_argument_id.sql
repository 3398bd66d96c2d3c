-- The id of the tracked table that a capture trigger carries as its first argument: the text before
-- the first zero byte.
CREATE OR REPLACE FUNCTION audit._argument_id(p_arguments bytea)
    RETURNS integer
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_argument_id$
    SELECT convert_from(substring(p_arguments FOR position(decode('00', 'hex') IN p_arguments) - 1),
                        'UTF8')::integer
$_argument_id$;

COMMENT ON FUNCTION audit._argument_id(bytea) IS
    'Internal: id of the tracked table in the arguments of a capture trigger.';
REVOKE ALL ON FUNCTION audit._argument_id(bytea) FROM PUBLIC;
