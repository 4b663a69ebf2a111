DROP TABLE subscription_periods;
DROP TABLE subscriptions;
DROP TABLE plans;
DROP FUNCTION refuse_change();
DROP FUNCTION in_force(timestamptz, timestamptz, boolean, timestamptz, timestamptz);
DROP TABLE access_grants;
DROP TABLE enrollments;
DROP TABLE courses;
