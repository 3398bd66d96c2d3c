-- Values, or a key, as the policy of their table lets them be recorded. Most tables have none: the
-- body is parsed once, here, and without SET clause the planner inlines it.
CREATE OR REPLACE FUNCTION audit._apply_policy(p_values jsonb, p_policy jsonb)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN CASE WHEN p_policy IS NULL THEN p_values ELSE audit._mask(p_values, p_policy) END;

COMMENT ON FUNCTION audit._apply_policy(jsonb, jsonb) IS
    'Internal: values as a policy lets them be recorded; all of them when it is NULL.';
REVOKE ALL ON FUNCTION audit._apply_policy(jsonb, jsonb) FROM PUBLIC;
