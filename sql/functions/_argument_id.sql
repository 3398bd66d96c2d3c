-- The id of the tracked table that a capture trigger carries as its first argument: the text before
-- the first zero byte. The body is parsed once, here, and inlined.
CREATE OR REPLACE FUNCTION audit._argument_id(p_arguments bytea)
    RETURNS integer
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN convert_from(
    substring(p_arguments FOR position(decode('00', 'hex') IN p_arguments) - 1), 'UTF8')::integer;

COMMENT ON FUNCTION audit._argument_id(bytea) IS
    'Internal: id of the tracked table in the arguments of a capture trigger.';
REVOKE ALL ON FUNCTION audit._argument_id(bytea) FROM PUBLIC;
