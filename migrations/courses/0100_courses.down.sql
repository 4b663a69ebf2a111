DROP TABLE course_sessions;
DROP TABLE course_revisions;
DROP TABLE course_instructors;
DROP TABLE courses;
