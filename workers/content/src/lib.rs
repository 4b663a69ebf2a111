//! lectern-content
