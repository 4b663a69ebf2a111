//! lectern-courses
