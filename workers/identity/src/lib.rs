//! lectern-identity
