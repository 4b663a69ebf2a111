//! lectern-enrollment
